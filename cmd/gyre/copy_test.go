package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// before is a log that has something done before its nth append.
type before struct {
	*core.Store
	n  int
	do func()
}

func (b *before) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	if b.n--; b.n == 0 {
		b.do()
	}
	return b.Store.Append(ctx, c)
}

// copyTo runs a copy, and answers what it says.
func copyTo(ctx context.Context, from, to wholeLog) (copied, string, error) {
	var stderr bytes.Buffer
	c := &copier{
		app:  &app{stderr: &stderr, timeout: defaultTimeout},
		from: &logEnd{wholeLog: from, name: "source"}, to: &logEnd{wholeLog: to, name: "target"}, mode: verifyFull,
	}
	err := c.run(ctx)
	return c.done, stderr.String(), err
}

// sourceLog has events of all kinds, in streams that take turns.
func sourceLog(t *testing.T, events int) *core.Store {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	for from := 0; from < events; from += batchEvents {
		var c core.Commit
		for i := from; i < min(from+batchEvents, events); i++ {
			e := core.NewEvent{ID: core.NewID(), Type: "T", Data: fmt.Appendf(nil, `{"n":%d}`, i), Metadata: []byte(`{"correlation_id":"c"}`)}
			if i%7 == 0 {
				e = core.NewEvent{ID: core.NewID(), Type: "B", Format: core.Bytes, ContentType: "a/b", Data: []byte{0, byte(i)}, Time: e.Time.AddDate(1999, 0, i)}
			}
			c.Appends = append(c.Appends, core.Append{Stream: fmt.Sprintf("s-%d", i%3), Expect: core.AnyVersion, Events: []core.NewEvent{e}})
		}
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func eventsOf(t *testing.T, log wholeLog) []core.Event {
	t.Helper()
	var all []core.Event
	c := &copier{app: &app{timeout: defaultTimeout}}
	for e, err := range c.events(t.Context(), &logEnd{wholeLog: log, name: "log"}, 1, core.MaxNumber) {
		if err != nil {
			t.Fatal(err)
		}
		if isLink(e) {
			e.Time = time.Time{}
		}
		// Recorded is the copy's own, and Raw has it.
		e.Recorded, e.Raw = e.Time, nil
		all = append(all, e)
	}
	return all
}

func TestCopyInterrupted(t *testing.T) {
	source := sourceLog(t, 4*copyEvents+500)
	target := core.NewStore(memory.New(), core.StoreConfig{})
	defer target.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, said, err := copyTo(ctx, source, &before{target, 3, cancel})
	// What was begun is finished: then the count is right.
	if !errors.Is(err, context.Canceled) || done.Copied != 3*copyEvents || !strings.Contains(said, "Run the same command again") {
		t.Fatalf("%+v, %v: %s", done, err, said)
	}
	done, said, err = copyTo(t.Context(), source, target)
	if err != nil || done.Before != 3*copyEvents || done.Copied != copyEvents+500 || done.Head != 4*copyEvents+500 {
		t.Fatalf("%+v, %v: %s", done, err, said)
	}
	got := eventsOf(t, target)
	for i, want := range eventsOf(t, source) {
		if !reflect.DeepEqual(got[i], want) {
			t.Fatalf("event %d is %+v, want %+v", i, got[i], want)
		}
	}
	if done, _, err = copyTo(t.Context(), source, target); err != nil || done.Copied != 0 {
		t.Errorf("once more: %+v, %v", done, err)
	}
}

// TestCopyBesideAnother has somebody else write to the target in the middle: to a
// stream of the copy, to another one, and an event of the copy.
func TestCopyBesideAnother(t *testing.T) {
	source := sourceLog(t, 3*copyEvents)
	last := eventsOf(t, source)[3*copyEvents-1]
	for name, a := range map[string]core.Append{
		"stream":         {Stream: "s-0", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "X", Data: []byte("1")}}},
		"another stream": {Stream: "x", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "X", Data: []byte("1")}}},
		"event":          {Stream: "x", Expect: core.AnyVersion, Events: []core.NewEvent{{ID: last.ID, Type: "X", Data: []byte("1")}}},
	} {
		t.Run(name, func(t *testing.T) {
			target := core.NewStore(memory.New(), core.StoreConfig{})
			defer target.Close()
			intrude := func() {
				if _, err := target.Append(t.Context(), core.Commit{Appends: []core.Append{a}}); err != nil {
					t.Error(err)
				}
			}
			_, _, err := copyTo(t.Context(), source, &before{target, 2, intrude})
			if !errors.Is(err, core.CodeLogMismatch) {
				t.Errorf("the copy says %v", err)
			}
			if _, _, err := copyTo(t.Context(), source, target); !errors.Is(err, core.CodeLogMismatch) {
				t.Errorf("the next one says %v", err)
			}
		})
	}
}

// touched is a log that has something done before each of its calls, and that tells
// other events than it has.
type touched struct {
	*core.Store
	called func()
	change func(e *core.Event)
}

func (l *touched) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	l.called()
	return l.Store.Append(ctx, c)
}

func (l *touched) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	l.called()
	if err := ctx.Err(); err != nil {
		return core.Page{}, core.AsError(err)
	}
	page, err := l.Store.ReadLog(ctx, from, limit)
	if err != nil || l.change == nil {
		return page, err
	}
	var block []byte
	for e := range page.Events() {
		l.change(&e)
		at := core.Placement{
			Stream: e.Stream, Version: e.Version, Position: e.Position, Recorded: e.Recorded.UnixMicro(), Incarnation: e.Incarnation, ID: e.ID,
		}
		if isLink(e) {
			block = core.EncodeLink(block, at, e.Link, e.Type)
			continue
		}
		block = core.EncodeEvent(block, at, &core.NewEvent{Type: e.Type, Time: e.Time, Format: e.Format, ContentType: e.ContentType, Metadata: e.Metadata, Data: e.Data})
	}
	page.Block = block
	return page, nil
}

// TestCopyFindsWhatDiffers has a target tell one event in the middle otherwise, among
// those that an earlier copy has written and among those that it writes itself.
func TestCopyFindsWhatDiffers(t *testing.T) {
	source := sourceLog(t, copyEvents+500)
	target := core.NewStore(memory.New(), core.StoreConfig{})
	defer target.Close()
	if _, said, err := copyTo(t.Context(), source, target); err != nil || !strings.Contains(said, "4,500 events compared with the source: they are the same.") {
		t.Fatalf("%v: %s", err, said)
	}
	const at = 1234
	for what, change := range map[string]func(e *core.Event){
		"id":           func(e *core.Event) { e.ID[3]++ },
		"stream":       func(e *core.Event) { e.Stream += "x" },
		"version":      func(e *core.Event) { e.Version++ },
		"type":         func(e *core.Event) { e.Type = "X" },
		"time":         func(e *core.Event) { e.Time = e.Time.Add(1000) },
		"content type": func(e *core.Event) { e.ContentType = "c/d" },
		"metadata":     func(e *core.Event) { e.Metadata = []byte(`{"correlation_id": "c"}`) },
		"data":         func(e *core.Event) { e.Data = append([]byte{' '}, e.Data...) },
	} {
		// The first and the last page alone do not tell.
		calls := 0
		changed := &touched{target, func() { calls++ }, func(e *core.Event) {
			if e.Position == at && calls > 3 {
				change(e)
			}
		}}
		want := fmt.Sprintf("the event at position %d of target has another %s than that of source", at, what)
		done, _, err := copyTo(t.Context(), source, changed)
		if !errors.Is(err, core.CodeNotClean) || !strings.Contains(err.Error(), want) || done.Copied != 0 {
			t.Errorf("%s, there before: %+v, %v", what, done, err)
		}
	}
	empty := core.NewStore(memory.New(), core.StoreConfig{})
	defer empty.Close()
	changed := &touched{empty, func() {}, func(e *core.Event) {
		if e.Position >= at && e.Position < at+3 {
			e.Type = "X"
		}
	}}
	done, _, err := copyTo(t.Context(), source, changed)
	if !errors.Is(err, core.CodeNotClean) || !strings.Contains(err.Error(), "at position 1234") || !strings.Contains(err.Error(), "3 events differ") {
		t.Errorf("among the copied: %+v, %v", done, err)
	}
}

// TestCopyOfALogThatGrows copies what was there when it began; the next one the rest.
func TestCopyOfALogThatGrows(t *testing.T) {
	source := sourceLog(t, copyEvents+500)
	target := core.NewStore(memory.New(), core.StoreConfig{})
	defer target.Close()
	grow := func() {
		a := core.Append{Stream: "s-0", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "Late", Data: []byte("1")}}}
		if _, err := source.Append(t.Context(), core.Commit{Appends: []core.Append{a}}); err != nil {
			t.Error(err)
		}
	}
	if done, said, err := copyTo(t.Context(), source, &touched{target, grow, nil}); err != nil || done.Head > copyEvents+501 {
		t.Fatalf("%+v, %v: %s", done, err, said)
	}
	head := uint64(len(eventsOf(t, source)))
	if done, said, err := copyTo(t.Context(), source, target); err != nil || done.Copied == 0 || done.Head != head || done.Verified != int64(head) {
		t.Errorf("the rest: %+v, %v: %s", done, err, said)
	}
}
