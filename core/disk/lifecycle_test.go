package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// lifeScript is Commits that change streams as a whole. Each appends to m, so how many of
// them are there tells how the others have to be.
func lifeScript(n int) (script []*core.Commit) {
	append1 := func(stream string, id core.ID) core.Append {
		return core.Append{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "t", Data: []byte("1")}}}
	}
	op := func(stream string, action core.StreamAction) []core.StreamOp {
		return []core.StreamOp{{Stream: stream, Expect: core.AnyVersion, Action: action}}
	}
	id := core.NewID()
	for range n {
		script = append(script,
			&core.Commit{Appends: []core.Append{append1("m", core.NewID()), append1("a", id), append1("d", core.NewID())}},
			&core.Commit{Appends: []core.Append{append1("m", core.NewID()), {Stream: "l", Expect: core.AnyVersion, Links: []core.ID{id}}}, Streams: op("d", core.DeleteStream)},
			&core.Commit{Appends: []core.Append{append1("m", core.NewID())}, Streams: op("a", core.RemoveStream)},
			&core.Commit{Appends: []core.Append{append1("m", core.NewID())}, Streams: op("d", core.UndeleteStream)})
	}
	return script
}

// checkLives compares a log with the first Commits of a lifeScript, as many as m has events.
func checkLives(t *testing.T, e *Engine) (there int) {
	t.Helper()
	there = len(readAll(t, e, "m"))
	round, step := there/4, there%4
	inA := 0
	if step == 1 || step == 2 {
		inA = 1
	}
	a := readAll(t, e, "a")
	if len(a) != inA || inA > 0 && (a[0].Version != 1 || a[0].Incarnation != uint32(round+1)) {
		t.Fatalf("after %d commits, a has %+v", there, a)
	}
	inL, taken := 0, step/2 // the link is there until its event is removed; its version stays taken
	if step == 2 {
		inL = 1
	}
	l, err := e.Read(context.Background(), core.ReadRequest{Stream: "l", Limit: everything})
	if version := uint64(round + taken); version > 0 && (err != nil || l.Version != version || l.Count != inL) {
		t.Fatalf("after %d commits, l has %d events at version %d, %v", there, l.Count, l.Version, err)
	}
	d, err := e.Read(context.Background(), core.ReadRequest{Stream: "d", Limit: everything})
	isDeleted := step == 2 || step == 3
	if isDeleted != errors.Is(err, core.CodeStreamDeleted) || err == nil && (d.Count != round+min(step, 1)) {
		t.Fatalf("after %d commits, d has %d events, %v", there, d.Count, err)
	}
	return there
}

// A write of many Commits is cut off at every byte that matters: what is left is the first of
// them, each whole, with what it says of streams.
func TestLifecyclesInACutWrite(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir, SegmentBytes: minSegmentBytes})
	script := lifeScript(4)
	for i, o := range e.Commit(t.Context(), script).Outcomes {
		if o.Err != nil {
			t.Fatalf("commit %d: %v", i, o.Err)
		}
	}
	name := filepath.Join("log", segmentName(1))
	whole, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	end := int(e.appender.durable.Load().end.byte())
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for cut := headerBytes + 200; cut <= end; cut += 56 {
		torn := append(append([]byte(nil), whole[:cut]...), make([]byte, len(whole)-cut)...)
		copied := t.TempDir()
		if err := os.MkdirAll(filepath.Join(copied, "log"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		e := open(t, Config{Dir: copied, SegmentBytes: minSegmentBytes})
		seen[checkLives(t, e)] = true
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < len(script)-2 {
		t.Errorf("only %d prefixes of %d commits were seen", len(seen), len(script))
	}
}

// What is removed stays so when the index is merged and made anew, when records are flushed,
// and when the log is verified: ids that are there twice and links to nothing are no damage.
func TestVerifyRemoved(t *testing.T) {
	dir := t.TempDir()
	config := Config{Dir: dir, SegmentBytes: minSegmentBytes}
	e := open(t, config)
	script := lifeScript(60)
	for i, c := range script {
		c.Appends[0].Events[0].Data = fmt.Appendf(nil, `{"fill":%q}`, make([]byte, 300))
		if o := e.Commit(t.Context(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			t.Fatalf("commit %d: %v", i, o.Err)
		}
		if i%37 == 0 {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			e = open(t, config)
			checkLives(t, e)
		}
	}
	checkLives(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, rebuild := range []bool{false, true, false} {
		report, err := Verify(t.Context(), config, VerifyOptions{Rebuild: rebuild})
		if err != nil || !report.Clean() || report.Streams != 3 || report.Segments < 5 {
			t.Fatalf("%+v, %v", report, err)
		}
	}
	e = open(t, config)
	if there := checkLives(t, e); there != len(script) {
		t.Errorf("%d commits of %d are there", there, len(script))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLifecycleRecords(t *testing.T) {
	for _, l := range []core.Lifecycle{{}, {State: core.StreamDeleted}, {State: core.StreamTombstoned, Removals: 1<<32 - 1, Removed: core.MaxNumber}, {Removals: 300, Removed: 70_000}} {
		b := encodeLifecycle(l)
		if got, ok := decodeLifecycle(b); !ok || got != l || len(b) > maxLifecycleBytes {
			t.Errorf("%+v is %+v, %v, in %d bytes", l, got, ok, len(b))
		}
		for n := range b {
			if got, ok := decodeLifecycle(b[:n]); ok {
				t.Errorf("the first %d bytes of %+v are %+v", n, l, got)
			}
		}
	}
	for incarnation := range uint32(300) {
		if stream, got := parseIndexName(indexName("a-1", incarnation+1)); stream != "a-1" || got != incarnation+1 {
			t.Errorf("incarnation %d is %d of %q", incarnation+1, got, stream)
		}
	}
}

func FuzzLifecycle(f *testing.F) {
	f.Add(encodeLifecycle(core.Lifecycle{State: core.StreamDeleted, Removals: 7, Removed: 1000}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, ok := decodeLifecycle(b)
		if !ok {
			return
		}
		if again, ok := decodeLifecycle(encodeLifecycle(l)); !ok || again != l {
			t.Errorf("%+v is %+v, %v", l, again, ok)
		}
	})
}
