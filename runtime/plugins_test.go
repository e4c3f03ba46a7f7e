package runtime_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
	"github.com/gyre-events/gyre/runtime"
)

// totals uploads a version of the guest Totals: it adds up the numbers in events by the length
// of their name, keeps the sums in state, and appends to "sixteens" for each multiple of 16.
func totals(t *testing.T, n *runtime.Node, version string) plugins.Version {
	t.Helper()
	content := guests.Totals
	if version != "1" { // a custom section makes it another module
		content = append(bytes.Clone(content), 0, byte(1+len(version)), byte(len(version)))
		content = append(content, version...)
	}
	v, _, err := n.Plugins().Versions.Upload(t.Context(), registry.Upload{
		Plugin: "totals", Version: version, Module: bytes.NewReader(content),
		Manifest: fmt.Appendf(nil, `{"name":"totals","version":%q,"abi":"gyre_1","kind":"handler","capabilities":["state","append:sixteens"],
			"subscription":{"filter":{"streams":["in-*"]},"partitionBy":"stream"},"lanes":2,
			"configSchema":{"properties":{"n":{"type":"integer"}}}}`, version),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func deploy(n *runtime.Node, d plugins.Deploy) error {
	_, err := n.Plugins().Bindings.Deploy(context.Background(), "totals", d)
	return err
}

var all = []string{"state", "append:sixteens"}

// feed appends events whose sum is known, at any node.
func feed(t *testing.T, n *runtime.Node, from, to int) {
	t.Helper()
	client := dial(t, n)
	for i := from; i < to; i++ {
		_, err := client.Append(t.Context(), core.Commit{Appends: []core.Append{{
			Stream: fmt.Sprint("in-", i%7), Expect: core.AnyVersion,
			Events: []core.NewEvent{{Type: "Added", Data: fmt.Appendf(nil, `{"total":%d}`, i)}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// handled waits until the events up to a number have been handled, at whichever node runs the
// binding, and checks what each node has as state and outputs.
func handled(t *testing.T, count int, nodes ...*runtime.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	last := uint64(0)
	multiples := 0
	for e, err := range core.ReadAll(ctx, nodes[0].Store(), core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "in-") {
			last = e.Position
			if e.Position%16 == 0 {
				multiples++
			}
		}
	}
	for checkpoint := uint64(0); checkpoint < last; {
		for _, n := range nodes {
			status, err := n.Plugins().Bindings.Status(ctx, "totals")
			if err != nil && !errors.Is(err, core.CodeNotOwner) && !errors.Is(err, core.CodeNotServing) {
				t.Fatal(err)
			}
			checkpoint = max(checkpoint, status.Checkpoint)
		}
		time.Sleep(5 * time.Millisecond) // nothing tells of a checkpoint
	}
	for _, n := range nodes {
		sum := int64(0)
		for lane := range 2 {
			entry, err := n.Plugins().Bindings.Get(ctx, "totals", plugins.KeyRequest{Lane: lane, Key: "totals"})
			if err != nil {
				t.Fatal(err)
			}
			sum += int64(binary.LittleEndian.Uint64(entry.Value[8*len("total"):]))
		}
		if want := int64(count * (count - 1) / 2); sum != want {
			t.Errorf("after %d events the sum is %d, want %d", count, sum, want)
		}
		page, err := n.Store().Read(ctx, core.ReadRequest{Stream: "sixteens", Limit: core.Limit{Events: core.MaxReadEvents}})
		if multiples > 0 && err != nil || int(page.Version) != multiples {
			t.Errorf("%d events are appended, want %d, %v", page.Version, multiples, err)
		}
	}
}

// withPlugins are configurations of nodes that survive a restart.
func withPlugins(t *testing.T, test func(t *testing.T, config runtime.Config)) {
	compile := wasmtest.Command()
	t.Run("disk", func(t *testing.T) {
		t.Parallel()
		test(t, runtime.Config{Data: filepath.Join(t.TempDir(), "data"), Plugins: runtime.PluginConfig{Compile: compile}})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		server := pgtest.Shared(t)
		test(t, runtime.Config{
			Postgres: postgres.Config{URL: server.URL, Store: server.Store(t)},
			Plugins:  runtime.PluginConfig{Compile: compile, Cache: filepath.Join(t.TempDir(), "cache")},
		})
	})
}

// TestPluginLife goes from the upload of a version to its deletion, over restarts, an upgrade
// and a rollback. Each event has its effect once.
func TestPluginLife(t *testing.T) {
	withPlugins(t, func(t *testing.T, config runtime.Config) {
		n := start(t, config)
		v := totals(t, n, "1")
		feed(t, n, 0, 100)
		if err := deploy(n, plugins.Deploy{Version: "1", Grants: all}); err != nil {
			t.Fatal(err)
		}
		handled(t, 100, n)
		for name, bad := range map[string]plugins.Deploy{
			"no version": {Version: "9"},
			"config":     {Config: []byte(`{"n":"text"}`)},
			"grants":     {Grants: []string{"files"}},
			"lanes":      {Lanes: 3},
		} {
			if err := deploy(n, bad); err == nil {
				t.Errorf("a bad deploy, %s, is a success", name)
			}
		}
		if err := n.Plugins().Versions.Delete(t.Context(), "totals", "1"); !errors.Is(err, core.CodePluginInUse) {
			t.Errorf("a version that runs is deleted: %v", err)
		}
		stop(t, n)

		// Nothing is compiled by a node that has the code.
		cached := config
		cached.Plugins.Compile = []string{"/nonexistent"}
		n = start(t, cached)
		feed(t, n, 100, 150)
		handled(t, 150, n)
		status, err := n.Plugins().Bindings.Status(t.Context(), "totals")
		if err != nil || status.State != plugins.Running || status.SHA256 != v.SHA256 {
			t.Errorf("after a restart the binding is %+v, %v", status, err)
		}
		said(t, n, `gyre_plugin_state\{binding="totals",state="running"\} 1`)
		said(t, n, `gyre_plugin_events_total\{binding="totals"\} [1-9]`)
		stop(t, n)

		n = start(t, config)
		totals(t, n, "2")
		if err := deploy(n, plugins.Deploy{Version: "2"}); err != nil {
			t.Fatal(err)
		}
		feed(t, n, 150, 200)
		handled(t, 200, n)
		for _, version := range []string{"1", "2"} {
			if err := n.Plugins().Versions.Delete(t.Context(), "totals", version); !errors.Is(err, core.CodePluginInUse) {
				t.Errorf("version %s, which runs or can be gone back to, is deleted: %v", version, err)
			}
		}
		if _, err := n.Plugins().Bindings.Rollback(t.Context(), "totals", plugins.Rollback{}); err != nil {
			t.Fatal(err)
		}
		feed(t, n, 200, 250)
		handled(t, 250, n)
		n.Plugins().Output.Lane(&status.Binding, 0).Log(abi.Info, []byte("before the end"))
		if page, err := n.Plugins().Output.Read(t.Context(), "totals", plugins.LogsRequest{Wait: time.Minute}); err != nil || len(page.Lines) == 0 {
			t.Errorf("nothing is logged: %v", err)
		}
		if err := n.Plugins().Bindings.Delete(t.Context(), "totals"); err != nil {
			t.Fatal(err)
		}
		for lines := 1; lines > 0; { // it is swept
			page, err := n.Plugins().Output.Read(t.Context(), "totals", plugins.LogsRequest{})
			if err != nil {
				t.Fatal(err)
			}
			lines = len(page.Lines)
		}
		for _, version := range []string{"1", "2"} {
			if err := n.Plugins().Versions.Delete(t.Context(), "totals", version); err != nil {
				t.Error(err)
			}
		}
		if _, err := n.Plugins().Versions.Version(t.Context(), "totals", "1"); !errors.Is(err, core.CodePluginNotFound) {
			t.Error(err)
		}
	})
}

// said waits until the metrics have a line.
func said(t *testing.T, n *runtime.Node, line string) {
	t.Helper()
	_, text := get(t, n.URL()+"/metrics")
	if !regexp.MustCompile(line).MatchString(text) {
		t.Errorf("no metric is %s", line)
	}
}

// A deploy that comes between the look for bindings and the deletion of a version, or after it,
// never leaves a binding without its version.
func TestDeployAgainstDelete(t *testing.T) {
	n := start(t, runtime.Config{Engine: runtime.EngineMemory, Plugins: runtime.PluginConfig{Compile: wasmtest.Command()}})
	for range 20 {
		totals(t, n, "1")
		results := make(chan error, 1)
		go func() { results <- n.Plugins().Versions.Delete(context.Background(), "totals", "1") }()
		deployed := deploy(n, plugins.Deploy{Version: "1", Grants: all})
		deleted := <-results
		_, err := n.Plugins().Versions.Version(t.Context(), "totals", "1")
		switch {
		case deployed == nil && (!errors.Is(deleted, core.CodePluginInUse) || err != nil):
			t.Fatalf("it is deployed, and deleted: %v, %v", deleted, err)
		case deployed != nil && deleted != nil:
			t.Fatalf("it is neither deployed (%v) nor deleted (%v)", deployed, deleted)
		}
		if deployed == nil {
			if err := n.Plugins().Bindings.Delete(t.Context(), "totals"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// In a ring a binding runs at the owner of its subscription, and moves with it; versions,
// state and logs are the same at every node.
func TestPluginsInRing(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	nodes := map[string]*runtime.Node{}
	for _, id := range []string{"one", "two", "three"} {
		nodes[id] = start(t, runtime.Config{
			Node: id, Postgres: postgres.Config{URL: server.URL, Store: store},
			Ring:    runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 2},
			Plugins: runtime.PluginConfig{Compile: wasmtest.Command(), Cache: filepath.Join(t.TempDir(), id)},
		})
	}
	for _, n := range nodes {
		untilReady(t, n.URL(), http.StatusOK, "ok")
	}
	totals(t, nodes["one"], "1")
	feed(t, nodes["two"], 0, 50)
	owner := ""
	for owner == "" { // a view may come meanwhile
		for id, n := range nodes {
			switch err := deploy(n, plugins.Deploy{Version: "1", Grants: all}); {
			case err == nil:
				owner = id
			case !errors.Is(err, core.CodeNotOwner) && !errors.Is(err, core.CodeNotServing):
				t.Fatal(err)
			}
			if owner != "" {
				break
			}
		}
	}
	handled(t, 50, slices.Collect(maps.Values(nodes))...)
	stop(t, nodes[owner])
	delete(nodes, owner)
	feed(t, slices.Collect(maps.Values(nodes))[0], 50, 100)
	handled(t, 100, slices.Collect(maps.Values(nodes))...)
	running := 0
	for _, n := range nodes {
		_, text := get(t, n.URL()+"/metrics")
		for _, m := range regexp.MustCompile(`gyre_plugin_events_total\{binding="totals"\} (\d+)`).FindAllStringSubmatch(text, -1) {
			if events, err := strconv.Atoi(m[1]); err == nil && events > 0 {
				running++
			}
		}
	}
	if running != 1 {
		t.Errorf("%d nodes run the binding", running)
	}
}

// A node that runs no plugins leaves those that are stored alone.
func TestNoPlugins(t *testing.T) {
	config := runtime.Config{Data: filepath.Join(t.TempDir(), "data"), Plugins: runtime.PluginConfig{Compile: wasmtest.Command()}}
	n := start(t, config)
	totals(t, n, "1")
	if err := deploy(n, plugins.Deploy{Version: "1", Grants: all}); err != nil {
		t.Fatal(err)
	}
	stop(t, n)
	without := config
	without.Plugins.Disabled = true
	n = start(t, without)
	if n.Plugins() != nil {
		t.Error("it has plugins")
	}
	for method, path := range map[string]string{"GET": "/v1/plugins", "POST": "/v1/plugins/totals/pause", "DELETE": "/v1/plugins/totals/versions/1"} {
		if status, body := send(t, method, n.URL()+path, "", ""); status != http.StatusNotImplemented || !strings.Contains(body, "this node runs no plugins") {
			t.Errorf("%s %s: %d %s", method, path, status, body)
		}
	}
	feed(t, n, 0, 40)
	stop(t, n)
	n = start(t, config)
	handled(t, 40, n)
}
