package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// linker makes Commits of events and links at random, in streams that have both.
type linker struct {
	random *rand.Rand
	names  []string  // what the streams' begin with
	ids    []core.ID // of the events that are written, or are in the Commit
	in     map[linked]bool
}

// linked says that a stream has an event, at home or as a link.
type linked struct {
	stream string
	id     core.ID
}

func newLinker(seed uint64, names ...string) *linker {
	return &linker{random: rand.New(rand.NewPCG(seed, 0)), names: names, in: make(map[linked]bool)}
}

// commit links what was written before, now and then what the same Commit writes, and
// a link again.
func (l *linker) commit() (c core.Commit) {
	c.System = true
	for range 1 + l.random.IntN(20) {
		a := core.Append{Stream: fmt.Sprintf("%s-%d", l.names[l.random.IntN(len(l.names))], l.random.IntN(12)), Expect: core.AnyVersion}
		links := l.random.IntN(2) == 0 && len(l.ids) > 0
		for range 1 + l.random.IntN(4) {
			if !links {
				a.Events = append(a.Events, l.event(a.Stream))
			} else if id := l.ids[len(l.ids)-1-l.random.IntN(min(len(l.ids), 1000))]; !l.in[linked{a.Stream, id}] {
				a.Links = append(a.Links, id)
				l.in[linked{a.Stream, id}] = true
			}
		}
		if a.Count() > 0 {
			c.Appends = append(c.Appends, a)
		}
	}
	return c
}

func (l *linker) event(stream string) core.NewEvent {
	e := core.NewEvent{ID: core.NewID(), Type: fmt.Sprintf("T%d", l.random.IntN(3)), Data: fmt.Appendf(nil, `{"n":%d}`, l.random.IntN(1000))}
	switch l.random.IntN(10) {
	case 0:
		e.Format, e.ContentType, e.Data = core.Bytes, "a/b", make([]byte, l.random.IntN(3000))
	case 1:
		e.Metadata = []byte(`{"correlation_id":"c"}`)
	case 2:
		e.Time = time.UnixMicro(l.random.Int64N(1 << 50)).UTC()
	}
	l.ids = append(l.ids, e.ID)
	l.in[linked{stream, e.ID}] = true
	return e
}

// fill writes as many events and links, at least. Beside them it tries what is
// refused, and what was written before.
func (l *linker) fill(t *testing.T, log core.Log, records int) {
	t.Helper()
	write := func(c core.Commit) core.Result {
		result, err := log.Append(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	for written := 0; written < records; {
		c := l.commit()
		if len(c.Appends) == 0 {
			continue
		}
		first := write(c)
		for i := range c.Appends {
			written += c.Appends[i].Count()
		}
		switch l.random.IntN(10) {
		case 0:
			if again := write(c); !again.Duplicate || again.Position != first.Position {
				t.Fatalf("once more: %+v, at first %+v", again, first)
			}
		case 1:
			a := core.Append{Stream: c.Appends[0].Stream, Expect: core.AnyVersion, Links: []core.ID{core.NewID()}}
			if _, err := log.Append(t.Context(), core.Commit{System: true, Appends: []core.Append{a}}); !errors.Is(err, core.CodeEventNotFound) {
				t.Fatal(err)
			}
		}
	}
}

// linkedLog is a log in memory with links, and with streams of the system.
func linkedLog(t *testing.T, records int) *core.Store {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() { _ = store.Close() })
	newLinker(uint64(records), "s", "$s", "t").fill(t, store, records)
	return store
}

// sameLogs compares all that two logs have.
func sameLogs(t *testing.T, source, target wholeLog) {
	t.Helper()
	want, got := eventsOf(t, source), eventsOf(t, target)
	if len(got) != len(want) {
		t.Fatalf("the target has %d events and links, the source %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Fatalf("the target has %+v, want %+v", got[i], want[i])
		}
	}
}

// TestCopyOfLinksBreaksOffAnywhere interrupts a copy at each of its calls, with any
// number of events and links of it there before. The next one makes it whole.
func TestCopyOfLinksBreaksOffAnywhere(t *testing.T) {
	source := linkedLog(t, copyEvents+100)
	all := eventsOf(t, source)
	random := rand.New(rand.NewPCG(1, 1))
	for n, broken := 1, true; broken; n++ {
		target := core.NewStore(memory.New(), core.StoreConfig{})
		there := random.IntN(300)
		if there > 0 {
			if _, err := target.Append(t.Context(), commitAgain(all[:there])); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		count := func() {
			if calls.Add(1) == int64(n) {
				cancel()
			}
		}
		_, _, err := copyTo(ctx, &touched{source, count, nil}, &touched{target, count, nil})
		cancel()
		if broken = calls.Load() >= int64(n); broken && !errors.Is(err, context.Canceled) && !errors.Is(err, core.CodeCanceled) && err != nil {
			t.Errorf("interrupted at call %d: %v", n, err)
		}
		done, said, err := copyTo(t.Context(), source, target)
		if err != nil || done.Verified != int64(len(all)) {
			t.Fatalf("after call %d: %+v, %v: %s", n, done, err, said)
		}
		if done, said, err = copyTo(t.Context(), source, target); err != nil || done.Copied != 0 || !strings.HasPrefix(said, "0 events copied, ") {
			t.Errorf("once more: %+v, %v: %s", done, err, said)
		}
		sameLogs(t, source, target)
		if target.Close(); n > 200 {
			t.Fatal("there is no end to it")
		}
	}
}

// TestCopyCountsLinks tells links apart from events.
func TestCopyCountsLinks(t *testing.T) {
	source := linkedLog(t, 1000)
	var events, links int64
	for _, e := range eventsOf(t, source) {
		if isLink(e) {
			links++
		} else {
			events++
		}
	}
	target := core.NewStore(memory.New(), core.StoreConfig{})
	defer target.Close()
	done, said, err := copyTo(t.Context(), source, target)
	each := fmt.Sprintf("%s events and %s links ", comma(events), comma(links))
	if err != nil || done.Copied != events+links || done.Links != links || links == 0 ||
		!strings.Contains(said, each+"copied, 0 there before") || !strings.Contains(said, each+"compared with the source") {
		t.Errorf("%+v, %v: %s", done, err, said)
	}
}

// TestCopyFindsLinksThatDiffer has a target tell one link otherwise, or an event instead
// of it, or nothing.
func TestCopyFindsLinksThatDiffer(t *testing.T) {
	source := linkedLog(t, copyEvents)
	target := core.NewStore(memory.New(), core.StoreConfig{})
	defer target.Close()
	if _, said, err := copyTo(t.Context(), source, target); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	all := eventsOf(t, source)
	at := uint64(copyEvents / 2)
	for !isLink(all[at-1]) {
		at++
	}
	for what, change := range map[string]func(e *core.Event){
		"the link at position %d of target has another id":      func(e *core.Event) { e.ID[3]++ },
		"the link at position %d of target has another stream":  func(e *core.Event) { e.Stream += "x" },
		"the link at position %d of target has another version": func(e *core.Event) { e.Version++ },
		"the link at position %d of target has another type":    func(e *core.Event) { e.Type = "X" },
		"the link at position %d of target has another link":    func(e *core.Event) { e.Link.Position++ },
		"the event at position %d of target has another link":   func(e *core.Event) { e.Link = core.Origin{} },
		"position %d, the next of target is at 1":               func(e *core.Event) { e.Position = 1 },
	} {
		calls := 0
		changed := &touched{target, func() { calls++ }, func(e *core.Event) {
			if e.Position == at && calls > 3 { // the ends do not tell
				change(e)
			}
		}}
		want := fmt.Sprintf(what, at)
		if done, _, err := copyTo(t.Context(), source, changed); !errors.Is(err, core.CodeNotClean) || !strings.Contains(err.Error(), want) || done.Copied != 0 {
			t.Errorf("%s: %+v, %v", want, done, err)
		}
	}
	// What the ends show is another log.
	end := uint64(len(all))
	for !isLink(all[end-1]) {
		end--
	}
	changed := &touched{target, func() {}, func(e *core.Event) {
		if e.Position == end {
			e.Link.Version++
		}
	}}
	if _, _, err := copyTo(t.Context(), source, changed); !errors.Is(err, core.CodeLogMismatch) || !strings.Contains(err.Error(), fmt.Sprintf("target has a link to event %s (%s@%d) at position %d", all[end-1].ID, all[end-1].Stream, all[end-1].Version, end)) {
		t.Errorf("at the end: %v", err)
	}
}

// TestCopyOfATargetThatLacksAnEvent writes links to events that somebody has taken out
// of the target.
func TestCopyOfATargetThatLacksAnEvent(t *testing.T) {
	source := linkedLog(t, copyEvents)
	target := core.NewStore(memory.New(), core.StoreConfig{})
	defer target.Close()
	lacks := &lacking{target}
	if _, _, err := copyTo(t.Context(), source, lacks); !errors.Is(err, core.CodeLogMismatch) || !strings.Contains(err.Error(), "target lacks an event that source links at position 1 or later") {
		t.Errorf("the copy says %v", err)
	}
}

// lacking is a log that has lost an event when it is linked.
type lacking struct{ *core.Store }

func (lacking) Append(_ context.Context, c core.Commit) (core.Result, error) {
	if c.HasLinks() {
		return core.Result{}, core.NewLinkNotFound("s", core.NewID())
	}
	return core.Result{}, nil
}
