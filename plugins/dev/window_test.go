package dev

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/project"
)

// countedLog is a log that counts how often its events are fetched.
type countedLog struct {
	*core.Store
	*testing.T
	follows int
}

func newLog(t *testing.T) *countedLog {
	l := &countedLog{Store: core.NewStore(memory.New(), core.StoreConfig{}), T: t}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func (l *countedLog) Follow(ctx context.Context, r core.FollowRequest) (core.Follower, error) {
	l.follows++
	return l.Store.Follow(ctx, r)
}

// fill appends events, each numbered by its position, of type Odd or Even.
func (l *countedLog) fill(from, to int) {
	l.Helper()
	for n := from; n <= to; n++ {
		typ := "Even"
		if n%2 == 1 {
			typ = "Odd"
		}
		l.addTyped(typ, fmt.Sprintf(`{"n":%d}`, n))
	}
}

// add appends an event of type T.
func (l *countedLog) add(data string) { l.addTyped("T", data) }

func (l *countedLog) addTyped(typ, data string) {
	l.Helper()
	event := core.NewEvent{Type: typ, Data: []byte(data)}
	c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}
	if _, err := l.Append(l.Context(), c); err != nil {
		l.Fatal(err)
	}
}

var compile = expression.NewCompiler().Compile

func window(t *testing.T, s Source, input *plugins.Input) *Window {
	t.Helper()
	w, err := s.Window(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// numbers are the positions of a window.
func numbers(w *Window) (list []int) {
	for _, e := range w.Items {
		list = append(list, int(e.Position))
	}
	return list
}

func TestLastHasTheNewestEvents(t *testing.T) {
	log := newLog(t)
	source := NewLast(log, 3, compile)
	if w := window(t, source, &plugins.Input{}); len(w.Items) != 0 || log.follows != 0 {
		t.Errorf("of an empty log: %v after %d fetches", numbers(w), log.follows)
	}
	log.fill(1, 100)
	for _, c := range []struct {
		name  string
		input plugins.Input
		want  []int
	}{
		{"all", plugins.Input{}, []int{98, 99, 100}},
		{"by type", plugins.Input{Filter: subscriptions.Filter{Types: []string{"Odd"}}}, []int{95, 97, 99}},
		{"by an expression", plugins.Input{Filter: subscriptions.Filter{Expr: "data.n % 30 == 0"}}, []int{30, 60, 90}},
		{"of a stream", plugins.Input{Stream: "s"}, []int{98, 99, 100}},
		{"of no stream", plugins.Input{Stream: "t"}, nil},
		{"few", plugins.Input{Filter: subscriptions.Filter{Expr: "data.n == 7"}}, []int{7}},
		{"none", plugins.Input{Filter: subscriptions.Filter{Types: []string{"Other"}}}, nil},
	} {
		if got := numbers(window(t, source, &c.input)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	bad := plugins.Input{Filter: subscriptions.Filter{Expr: "event.("}}
	if _, err := source.Window(t.Context(), &bad); core.AsError(err).Code != core.CodeInvalidExpression {
		t.Errorf("of a bad expression: %v", err)
	}
}

// Events are fetched once. Of a log that has grown, the new ones are.
func TestLastFetchesWhatIsNew(t *testing.T) {
	log := newLog(t)
	log.fill(1, 20)
	source := NewLast(log, 4, compile)
	input := plugins.Input{}
	first := window(t, source, &input)
	fetches := log.follows
	if again := window(t, source, &input); again != first || log.follows != fetches {
		t.Errorf("the same log was fetched again: %d times", log.follows-fetches)
	}
	log.fill(21, 23)
	grown := window(t, source, &input)
	if got := numbers(grown); !slices.Equal(got, []int{17, 18, 19, 20, 21, 22, 23}) || grown.first != first || log.follows != fetches+1 {
		t.Errorf("grown: %v, after %d fetches", got, log.follows-fetches)
	}
	if got := numbers(first); !slices.Equal(got, []int{17, 18, 19, 20}) {
		t.Errorf("the window before has become %v", got)
	}
	log.fill(24, 25)
	if w := window(t, source, &input); !slices.Equal(numbers(w), []int{22, 23, 24, 25}) || w.first == first {
		t.Errorf("grown far: %v", numbers(w))
	}
	if w := window(t, source, &plugins.Input{Filter: subscriptions.Filter{Types: []string{"Odd"}}}); !slices.Equal(numbers(w), []int{19, 21, 23, 25}) {
		t.Errorf("of another input: %v", numbers(w))
	}
}

// A log that lost events, or another one, is read anew.
func TestLastOfAnotherLog(t *testing.T) {
	log := newLog(t)
	log.fill(1, 10)
	source := NewLast(log, 2, compile)
	first := window(t, source, &plugins.Input{})
	other := newLog(t)
	other.fill(1, 5)
	source.log = other
	if w := window(t, source, &plugins.Input{}); !slices.Equal(numbers(w), []int{4, 5}) || w.first == first.first {
		t.Errorf("of another log: %v", numbers(w))
	}
}

func TestSample(t *testing.T) {
	events := []project.Event{{Stream: "a", NewEvent: core.NewEvent{Type: "T", Data: []byte("1")}}, {Stream: "b", NewEvent: core.NewEvent{Type: "T", Data: []byte("2")}}}
	failure := errors.New("no file")
	var err error
	source := NewSample(func() ([]project.Event, error) { return events, err }, compile)
	input := plugins.Input{Filter: subscriptions.Filter{Streams: []string{"b"}}}
	first := window(t, source, &input)
	if got := numbers(first); !slices.Equal(got, []int{2}) {
		t.Errorf("the events are %v", got)
	}
	if again := window(t, source, &input); again != first {
		t.Error("the same events are another window")
	}
	events = append(events, events[1])
	if w := window(t, source, &input); len(w.Items) != 2 || w.first == first {
		t.Errorf("of another file: %v", numbers(w))
	}
	page, readErr := first.Read(t.Context(), core.ReadRequest{Stream: "a", From: 1, Limit: core.Limit{Events: 9, Bytes: 1 << 20}})
	if readErr != nil || page.Count != 1 {
		t.Errorf("read %d events, %v", page.Count, readErr)
	}
	if err = failure; true {
		if _, got := source.Window(t.Context(), &input); !errors.Is(got, failure) {
			t.Errorf("without a file: %v", got)
		}
	}
}
