package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/sdk"
)

const (
	// historySample is the history, unless GYRE_TEST_HISTORY names a larger one.
	historySample = "../../examples/temporal-sample.ndjson"
	hotspotLanes  = 4
	// pluginKillDelay bounds the random time from the start of a node to its end.
	pluginKillDelay = 400 * time.Millisecond
	// drainedWithin is more than a run takes after its last kill.
	drainedWithin = 2 * time.Minute
)

// pluginCrashes are the kinds of nodes that TestPluginCrash kills, and how often: by
// default, and with GYRE_SOAK=1.
var pluginCrashes = []struct {
	name        string
	kills, soak int
	nodes       func(t *testing.T) []*ringNode
}{
	{"disk", 5, 200, nodeOnDisk},
	{"postgres", 3, 50, nodeInPostgres},
	{"ring", 2, 20, ringOfThree},
}

// nodeOnDisk is a node with the engine on disk, not started yet.
func nodeOnDisk(t *testing.T) []*ringNode {
	return []*ringNode{{args: []string{"--data", filepath.Join(t.TempDir(), "data")}}}
}

// nodeInPostgres is a node with the engine in PostgreSQL, not started yet.
func nodeInPostgres(t *testing.T) []*ringNode {
	server := pgtest.Shared(t)
	return []*ringNode{{args: []string{"--node", "n1", "--postgres", server.URL, "--store", server.Store(t)}}}
}

// ringOfThree is a ring in PostgreSQL, not started yet.
func ringOfThree(t *testing.T) (ring []*ringNode) {
	server := pgtest.Shared(t)
	store, gossip := server.Store(t), unused(t, 3)
	for i := range gossip {
		ring = append(ring, &ringNode{args: []string{
			"--cluster", "--quorum", "2", "--node", nodeName(i), "--gossip", gossip[i], "--peers", strings.Join(gossip, ","),
			"--postgres", server.URL, "--store", store,
		}})
	}
	return ring
}

// TestPluginCrash kills the node that runs a plugin (testdata/hotspot) with SIGKILL at random
// moments, while the history that it handles is being appended. In the end the events that it
// has appended and its state are those of a run that nobody has disturbed: ids, versions,
// types, data, metadata, and the order of each lane. Both runs try again and park the same
// events, by their ids, and replay the parked ones when the log is drained.
func TestPluginCrash(t *testing.T) {
	t.Parallel()
	gyre, module := plainProgram(t, "gyre"), filepath.Join(t.TempDir(), "hotspot.wasm")
	goBuild(t, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "-buildmode=c-shared", "-ldflags=-s -w", "-o", module, "./testdata/hotspot")
	events := history(t)
	for _, kind := range pluginCrashes {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			kills := kind.kills
			if os.Getenv("GYRE_SOAK") != "" {
				kills = kind.soak
			}
			var results []pluginResult
			for _, n := range []int{0, kills} {
				run := startPluginRun(t, gyre, kind.nodes(t))
				run.deploy(module)
				run.handle(events, n)
				results = append(results, run.result())
			}
			if len(results[0].Streams) == 0 || len(results[0].State) == 0 {
				t.Fatal("the plugin has done nothing")
			}
			same(t, "stream", results[1].Streams, results[0].Streams)
			for lane := range hotspotLanes {
				same(t, fmt.Sprintf("state of lane %d", lane), results[1].State[lane], results[0].State[lane])
			}
		})
	}
}

// same compares what a disturbed run has with what it is to have.
func same[V any](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	for key := range want {
		if !reflect.DeepEqual(got[key], want[key]) {
			t.Errorf("%s %q: got %.300s, want %.300s", what, key, fmt.Sprint(got[key]), fmt.Sprint(want[key]))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s %q: got %.300s, want none", what, key, fmt.Sprint(got[key]))
		}
	}
}

func goBuild(t *testing.T, env []string, args ...string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", append([]string{"build"}, args...)...)
	build.Env = append(os.Environ(), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
}

// history reads the events of files.
func history(t *testing.T) (events []core.Append) {
	t.Helper()
	path := historySample
	if p := os.Getenv("GYRE_TEST_HISTORY"); p != "" {
		path = p
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if text, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(text)
	for lines.Buffer(nil, 2<<20); lines.Scan(); {
		var e struct {
			Stream, ID, Type string
			Data, Metadata   json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		id, err := core.ParseID(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, core.Append{Stream: e.Stream, Expect: core.AnyVersion,
			Events: []core.NewEvent{{ID: id, Type: e.Type, Data: e.Data, Metadata: e.Metadata}}})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

// pluginRun is nodes that handle a history.
type pluginRun struct {
	t      *testing.T
	nodes  []*ringNode
	client *sdk.Client
}

// startPluginRun starts nodes, which end with the test.
func startPluginRun(t *testing.T, gyre string, nodes []*ringNode) *pluginRun {
	listen := unused(t, len(nodes))
	var urls []string
	for i, n := range nodes {
		n.t, n.program, n.dir, n.listen = t, gyre, t.TempDir(), listen[i]
		n.args = append(n.args, "--listen", n.listen, "--plugin-cache", filepath.Join(n.dir, "cache"))
		n.begin()
		urls = append(urls, "http://"+n.listen)
	}
	for _, n := range nodes {
		n.ready()
	}
	client, err := sdk.Dial(t.Context(), strings.Join(urls, ","), sdk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &pluginRun{t, nodes, client}
}

// ask asks the first node about its plugin.
func (r *pluginRun) ask(method, path, contentType string, body io.Reader, to any) error {
	return r.nodes[0].askPlugins(method, "hotspot"+path, contentType, body, to)
}

// askPlugins sends a request about plugins, and decodes the answer into to.
func (n *ringNode) askPlugins(method, path, contentType string, body io.Reader, to any) error {
	request, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+n.listen+"/v1/plugins/"+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Gyre-Timeout", "300000") // a busy machine compiles for long
	answer, err := (&http.Client{Timeout: 6 * time.Minute}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, to)
}

// deploy uploads the plugin and puts it to work.
func (r *pluginRun) deploy(path string) {
	r.t.Helper()
	module, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	manifest, err := os.ReadFile("testdata/hotspot/gyre.plugin.json")
	if err != nil {
		r.t.Fatal(err)
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for _, part := range []struct {
		name, kind string
		text       []byte
	}{{"manifest", "application/json", manifest}, {"module", "application/wasm", module}} {
		into, err := w.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {`form-data; name="` + part.name + `"`}, "Content-Type": {part.kind},
		})
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := into.Write(part.text); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	var answer json.RawMessage
	if err := r.ask("PUT", "/versions/1.0.0", w.FormDataContentType(), &body, &answer); err != nil {
		r.t.Fatal(err)
	}
	// An event that is handled at each of many kills has failed as often. Batches are small so
	// that several Commits of a lane are under way when the node is killed.
	deploy := `{"version":"1.0.0","grants":["state","append:hotspot-*"],"onError":{"attempts":1000},"limits":{"batchEvents":2}}`
	if err := r.ask("POST", "/deploy", "application/json", strings.NewReader(deploy), &answer); err != nil {
		r.t.Fatal(err)
	}
}

// handle appends events, a part of them around each kill, waits until all have been handled,
// and replays those that were parked.
func (r *pluginRun) handle(events []core.Append, kills int) {
	r.t.Helper()
	parts := kills + 1
	for i := range parts {
		part := events[i*len(events)/parts : (i+1)*len(events)/parts]
		appended := make(chan error, 1)
		go func() { appended <- r.appendAll(part) }()
		if i < kills {
			<-time.NewTimer(rand.N(pluginKillDelay)).C
			r.kill()
		}
		if err := <-appended; err != nil {
			r.t.Fatal(err)
		}
	}
	last := r.lastFile()
	r.until(func(s *plugins.Status) error {
		if s.Checkpoint < last {
			return fmt.Errorf("the checkpoint is %d of %d", s.Checkpoint, last)
		}
		return nil
	})
	if n, err := r.client.Subscriptions().Replay(r.t.Context(), "hotspot", subscriptions.Selection{All: true}); err != nil || n == 0 {
		r.t.Fatalf("%d parked events are replayed, %v", n, err)
	}
	r.until(func(s *plugins.Status) error {
		if s.Parked > 0 {
			return fmt.Errorf("%d are parked", s.Parked)
		}
		return nil
	})
}

// appendAll appends events in small Commits, over kills.
func (r *pluginRun) appendAll(events []core.Append) error {
	for some := range slices.Chunk(events, 5) {
		if _, err := r.client.Append(r.t.Context(), core.Commit{Appends: some}); err != nil {
			return err
		}
	}
	return nil
}

// kill kills the node that runs the plugin, if there is one now, and starts it again.
func (r *pluginRun) kill() {
	r.t.Helper()
	victim := r.runner()
	if _, err := victim.now.end(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	victim.start()
	victim.ready()
}

// runner is the node that runs the plugin, or any if there is none now.
func (r *pluginRun) runner() *ringNode {
	r.t.Helper()
	runner := r.nodes[rand.N(len(r.nodes))]
	for _, n := range r.nodes {
		answer, err := asks.Get("http://" + n.listen + "/metrics")
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // it was read
		if err != nil {
			r.t.Fatal(err)
		}
		if bytes.Contains(text, []byte(`gyre_plugin_state{binding="hotspot"`)) {
			runner = n
		}
	}
	return runner
}

// until waits until the status of the binding is as it has to be.
func (r *pluginRun) until(holds func(*plugins.Status) error) {
	r.t.Helper()
	err := until(drainedWithin, func() error {
		var s plugins.Status
		if err := r.ask("GET", "", "", nil, &s); err != nil {
			return err
		}
		return holds(&s)
	})
	if err != nil {
		var status, log json.RawMessage
		_ = r.ask("GET", "", "", nil, &status)           // what it has is shown
		_ = r.ask("GET", "/logs?last=20", "", nil, &log) // the same
		r.t.Fatalf("%v\n%s\n%s\n%s", err, status, log, lastBytes(r.nodes[0].log(), 4000))
	}
}

// lastFile is the position of the last event that the plugin handles.
func (r *pluginRun) lastFile() (last uint64) {
	r.t.Helper()
	for e, err := range core.ReadAll(r.t.Context(), r.client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "file-") {
			last = e.Position
		}
	}
	return last
}

// pluginResult is all that the plugin has done.
type pluginResult struct {
	Streams map[string][]pluginEvent
	State   []map[string]string // of each lane
}

// pluginEvent is an event that it has appended, but for its place in $all and its time.
type pluginEvent struct {
	ID                   core.ID
	Version              uint64
	Type, Data, Metadata string
}

func (r *pluginRun) result() pluginResult {
	r.t.Helper()
	result := pluginResult{Streams: map[string][]pluginEvent{}}
	for e, err := range core.ReadAll(r.t.Context(), r.client, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.HasPrefix(e.Stream, "hotspot-") {
			result.Streams[e.Stream] = append(result.Streams[e.Stream], pluginEvent{e.ID, e.Version, e.Type, string(e.Data), string(e.Metadata)})
		}
	}
	for lane := range hotspotLanes {
		result.State = append(result.State, r.stateOf("hotspot", lane))
	}
	return result
}

// stateOf reads the state of a lane at the first node.
func (r *pluginRun) stateOf(binding string, lane int) map[string]string {
	r.t.Helper()
	state := map[string]string{}
	for after, end := "", false; !end; {
		var page struct {
			Entries []plugins.Entry
			Next    string
			End     bool
		}
		path := fmt.Sprintf("%s/state?lane=%d&limit=1000&after=%s", binding, lane, url.QueryEscape(after))
		if err := r.nodes[0].askPlugins("GET", path, "", nil, &page); err != nil {
			r.t.Fatal(err)
		}
		for _, e := range page.Entries {
			state[e.Key] = string(e.Value)
		}
		after, end = page.Next, page.End
	}
	return state
}
