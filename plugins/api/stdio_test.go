package api_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/stdio"
	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// linesManifest is that of the guest Lines.
const linesManifest = `{"name":"lines","version":%q,"abi":"stdio_1","kind":"handler","capabilities":["append:positions","state"],
	"subscription":{"filter":{"streams":["in-*"]}}}`

// lines uploads a version of the guest Lines.
func (n *node) lines(version string) {
	n.t.Helper()
	// A custom section makes each version another module.
	content := slices.Concat(guests.Lines, []byte{0, byte(1 + len(version)), byte(len(version))}, []byte(version))
	v, _, err := n.client.Plugins().Upload(n.t.Context(), sdk.Upload{
		Plugin: "lines", Version: version, Module: content, Manifest: fmt.Appendf(nil, linesManifest, version),
	})
	if err != nil {
		n.t.Fatal(err)
	}
	if r := v.Report; len(r.Warnings) > 0 || r.Queries || r.AtLeastOnce || !slices.Equal(r.Imports, []string{
		"wasi_snapshot_preview1.fd_read", "wasi_snapshot_preview1.fd_write", "wasi_snapshot_preview1.proc_exit",
	}) {
		n.t.Errorf("the report is %+v", r)
	}
}

// say appends an event of each type.
func (n *node) say(types ...string) {
	n.t.Helper()
	for i, name := range types {
		c := core.Commit{Appends: []core.Append{{
			Stream: fmt.Sprint("in-", i%2), Expect: core.AnyVersion, Events: []core.NewEvent{{Type: name, Data: []byte("{}")}},
		}}}
		if _, err := n.client.Append(n.t.Context(), c); err != nil {
			n.t.Fatal(err)
		}
	}
}

// seen are the positions that the guest Lines has appended.
func (n *node) seen() (data []string) {
	n.t.Helper()
	for e, err := range core.ReadAll(n.t.Context(), n.store, core.ReadRequest{Stream: "positions"}) {
		if err != nil {
			n.t.Fatal(err)
		}
		data = append(data, string(e.Data))
	}
	return data
}

// TestCommand: a command of stdio_1 is handled as any handler: a batch in which it fails is bisected,
// what it parks is in the workbench, and it runs dry, in the shadow, and in a rebuild.
func TestCommand(t *testing.T) {
	n := newNode(t)
	n.lines("1.0.0")
	n.say("Said", "Said", "Said", "Broken", "Said", "Odd", "Said")
	all, ctx := n.client.Plugins(), t.Context()
	_, err := all.Deploy(ctx, "lines", plugins.Deploy{Version: "1.0.0", Grants: []string{"append:positions", "state"}, OnError: &plugins.ErrorPolicy{Attempts: 2, MinMs: 1, MaxMs: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s := n.until("lines", "two events are parked", func(s *plugins.Status) bool { return s.Parked == 2 && s.Checkpoint >= 7 })
	if s.MemoryBytes == 0 {
		t.Errorf("it has no memory: %+v", s)
	}
	want := []string{"1", "2", "3", "5", "7"}
	if got := n.seen(); !slices.Equal(got, want) {
		t.Errorf("appended for %v, want %v", got, want)
	}
	state := func() string { return n.do("GET", "/v1/plugins/lines/state", "").body }
	if got := state(); !strings.Contains(got, `"key":"in-0","value":7`) || !strings.Contains(got, `"key":"in-1","value":2`) {
		t.Errorf("the state is %s", got)
	}
	broken, err := all.Poison(ctx, "lines", 4)
	if err != nil || broken.Reason != "plugin failed: exit code 3" || broken.Attempts != 2 || len(broken.Steps.List) != 1 || broken.Steps.List[0].Text != "it is broken" || broken.Fuel == 0 {
		t.Errorf("%+v, %v", broken, err)
	}
	if odd, err := all.Poison(ctx, "lines", 6); err != nil || odd.Reason != "it is odd" || odd.Attempts != 1 {
		t.Errorf("%+v, %v", odd, err)
	}
	if ran, err := all.RunPoison(ctx, "lines", 4, plugins.PoisonRun{}); err != nil || ran.Fate != plugins.Parked || ran.Reason != broken.Reason {
		t.Errorf("%+v, %v", ran, err)
	}
	dry, err := all.DryRun(ctx, "lines", plugins.DryRun{To: 7}, nil)
	if stored := dry.Tried.Stored; err != nil || dry.Tried.Acked != 5 || dry.Tried.Parked != 2 || stored.Added+stored.Changed+stored.Removed != 0 {
		t.Errorf("%+v, %v", dry.Tried, err)
	}
	n.shadowLines()
	before, head := state(), n.store.State().Head
	if _, err = all.Rebuild(ctx, "lines", plugins.Rebuild{Version: "2.0.0"}); err != nil {
		t.Fatal(err)
	}
	n.until("lines", "the next generation is live", func(s *plugins.Status) bool { return s.Generation == 2 && s.Checkpoint >= head })
	if after := state(); after != before || n.store.State().Head != head {
		t.Errorf("after a rebuild the state is %s, it was %s; the head is %d, it was %d", after, before, n.store.State().Head, head)
	}
	if _, err := all.Query(ctx, "lines", plugins.Query{Text: []byte("1")}); core.AsError(err).Code != core.CodeNoQuery {
		t.Errorf("it answers a query: %v", err)
	}
}

// shadowLines has the next version run in the shadow, and finds no difference.
func (n *node) shadowLines() {
	n.t.Helper()
	n.lines("2.0.0")
	if _, err := n.client.Plugins().Shadow(n.t.Context(), "lines", "2.0.0"); err != nil {
		n.t.Fatal(err)
	}
	for s := (plugins.Status{}); s.Shadow == nil || s.Shadow.Events == 0; {
		n.say("Said", "Said")
		head := n.store.State().Head
		s = n.until("lines", "it has handled what there is", func(s *plugins.Status) bool { return s.Checkpoint >= head })
	}
	report, err := n.client.Plugins().Differences(n.t.Context(), "lines", plugins.ShadowRequest{})
	if err != nil || report.Shadow.Differ != 0 || report.Shadow.Fuel == 0 {
		n.t.Errorf("%+v, %v", report, err)
	}
	if _, err := n.client.Plugins().EndShadow(n.t.Context(), "lines"); err != nil {
		n.t.Fatal(err)
	}
}

// TestCommandsAreVerified: a module is of the ABI that its manifest says.
func TestCommandsAreVerified(t *testing.T) {
	n := newNode(t)
	for name, c := range map[string]struct {
		module   []byte
		manifest string
		code     core.Code
		want     string
	}{
		"command as gyre_1": {guests.Lines, `{"name":"lines","version":"1","abi":"gyre_1","kind":"handler"}`, core.CodeInvalidModule, `export "gyre_handle" is missing; _start, which is there, is what a command exports`},
		"gyre_1 as command": {guests.Words, `{"name":"lines","version":"1","abi":"stdio_1","kind":"handler"}`, core.CodeInvalidModule, `is not for a command of stdio_1`},
		"validator":         {guests.Lines, `{"name":"lines","version":"1","abi":"stdio_1","kind":"validate"}`, core.CodeInvalidManifest, "a command of abi stdio_1 is a handler, and not a validator"},
		"other abi":         {guests.Lines, `{"name":"lines","version":"1","abi":"stdio_2","kind":"handler"}`, core.CodeInvalidManifest, "this version has gyre_1 and stdio_1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := n.client.Plugins().Upload(t.Context(), sdk.Upload{Plugin: "lines", Version: "1", Module: c.module, Manifest: []byte(c.manifest)})
			if e := core.AsError(err); e.Code != c.code || !strings.Contains(e.Detail, c.want) {
				t.Errorf("got %v, want %s: %s", err, c.code, c.want)
			}
		})
	}
	a, err := n.client.Plugins().ABI(t.Context())
	if err != nil || !slices.Equal(a.ABIs, []string{abi.Module, abi.Stdio}) || !slices.Contains(a.Exports, abi.Main) || !slices.Contains(a.CommandImports, "wasi_snapshot_preview1.path_open") {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestEventsOfCommands: the events that a command reads have the members that they have in the API.
func TestEventsOfCommands(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 60_000_000, time.UTC)
	for name, e := range map[string]core.Event{
		"json":  {Stream: "a", Version: 1, Position: 7, ID: core.ID{1}, Type: "T", Time: at, Recorded: at, Data: []byte("{\n}"), Metadata: []byte(`{"correlation_id":"c"}`)},
		"bytes": {Stream: "ä\"", Version: 1, Position: 7, Type: "T\t", Time: at.Add(time.Hour), Recorded: at, Format: core.Bytes, Data: []byte{0, 255}, ContentType: "text/plain"},
	} {
		t.Run(name, func(t *testing.T) {
			event := effects.EventOf(&e, nil)
			event.Attempt, event.Flags = 2, event.Flags|abi.Replay
			want := wire.AppendAttempt(wire.AppendEventJSON(nil, &e), 2, true)
			if got := stdio.AppendEvent(nil, &event); !bytes.Equal(got, want) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
