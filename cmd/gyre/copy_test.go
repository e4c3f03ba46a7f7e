package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// before is a log that has something done before its nth append.
type before struct {
	core.Log
	n  int
	do func()
}

func (b *before) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	if b.n--; b.n == 0 {
		b.do()
	}
	return b.Log.Append(ctx, c)
}

// copyTo runs a copy, and answers what it says.
func copyTo(ctx context.Context, from, to core.Log) (copied, string, error) {
	var stderr bytes.Buffer
	c := &copier{
		app:  &app{stderr: &stderr, timeout: defaultTimeout},
		from: &logEnd{from, "source", nil}, to: &logEnd{to, "target", nil},
	}
	err := c.run(ctx)
	return c.done, stderr.String(), err
}

// sourceLog has events of all kinds, in streams that take turns.
func sourceLog(t *testing.T, events int) *core.Store {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	for i := range events {
		e := core.NewEvent{ID: core.NewID(), Type: "T", Data: fmt.Appendf(nil, `{"n":%d}`, i), Metadata: []byte(`{"correlation_id":"c"}`)}
		if i%7 == 0 {
			e = core.NewEvent{ID: core.NewID(), Type: "B", Format: core.Bytes, ContentType: "a/b", Data: []byte{0, byte(i)}, Time: e.Time.AddDate(1999, 0, i)}
		}
		a := core.Append{Stream: fmt.Sprintf("s-%d", i%3), Expect: core.AnyVersion, Events: []core.NewEvent{e}}
		if _, err := store.Append(t.Context(), core.Commit{Appends: []core.Append{a}}); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

func eventsOf(t *testing.T, log core.Log) []core.Event {
	t.Helper()
	var all []core.Event
	for e, err := range core.ReadAll(t.Context(), log, core.ReadRequest{Stream: core.All}) {
		if err != nil {
			t.Fatal(err)
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
