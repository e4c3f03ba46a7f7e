package validators_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// byType refuses events whose type begins with Bad.
func byType(_ context.Context, _ *plugins.Connection, e *abi.Event) (string, error) {
	if strings.HasPrefix(string(e.Type), "Bad") {
		return fmt.Sprintf("%s is bad", e.Type), nil
	}
	return "", nil
}

func TestRefusal(t *testing.T) {
	l := newLibrary(t)
	l.add("orders", "1", byType)
	l.add("loud", "1", refuse("two\nlines, \x1b[31m \xff \u202e"+strings.Repeat("é", 2000)))
	n := inMemory(t, l)
	n.deploy("orders", "1", "order-*")
	n.wants(n.append("order-1", "Good", "Better"), "")
	n.wants(n.append("other", "Bad"), "")
	c := commit("order-1", "Good")
	c.Appends = append(c.Appends, commit("order-2", "Good", "Bad", "Badder").Appends...)
	c.Appends[1].Events[1].ID = core.NewID()
	_, err := n.store.Append(t.Context(), c)
	n.wants(err, core.CodeAppendRefused)
	e := core.AsError(err)
	if want := `validator "orders" refuses event 1 of stream "order-2", Bad: Bad is bad`; e.Detail != want || e.Stream != "order-2" ||
		e.Element == nil || *e.Element != 1 || e.EventID != c.Appends[1].Events[1].ID {
		t.Errorf("%+v", e)
	}
	n.deploy("loud", "1", "loud")
	err = n.append("loud", "T")
	n.wants(err, core.CodeAppendRefused)
	if d := core.AsError(err).Detail; !strings.Contains(d, `T: two lines, �[31m � �`) || strings.ContainsAny(d, "\n\x1b") || strings.Contains(d, "\xff") || strings.Contains(d, "\u202e") || len(d) > 1200 {
		t.Errorf("%q", d)
	}
	if head := n.store.State().Head; head != 3 {
		t.Errorf("%d events were written", head)
	}
	s, err := n.Status(t.Context(), "orders")
	if err != nil || s.Totals.Batches != 2 || s.Totals.Events != 6 || s.Totals.Refused != 1 || s.Totals.Failures != 0 || s.Totals.Seconds <= 0 {
		t.Errorf("%+v, %v", s.Totals, err)
	}
}

// What a validator sees: the events that match, as they will be appended.
func TestWhatAValidatorSees(t *testing.T) {
	l := newLibrary(t)
	var seen []string
	l.add("v", "1", func(_ context.Context, c *plugins.Connection, e *abi.Event) (string, error) {
		threshold, _ := c.Reads.Config([]byte("threshold"))
		own, _ := e.Field(abi.OwnTime)
		seen = append(seen, fmt.Sprintf("%s %s v%d p%d %s %s %x %d config %s", e.Stream, e.Type, e.Version, e.Position, e.Data, e.Metadata, e.ID[:2], len(own), threshold))
		if e := c.Effects.Append(0, []byte("other"), abi.AnyVersion, nil); e != abi.Unsupported {
			return "", errors.New("it may append")
		}
		if _, e := c.Reads.ReadStream([]byte("other"), 0, 1); e != abi.Unsupported {
			return "", errors.New("it may read")
		}
		return "", nil
	})
	n := inMemory(t, l)
	in := inputOf("s-*")
	in.Filter.Types = []string{"A*"}
	if _, err := n.Deploy(t.Context(), "v", plugins.Deploy{Version: "1", Input: in, Config: json.RawMessage(`{"threshold":5}`)}); err != nil {
		t.Fatal(err)
	}
	c := commit("s-1", "A1", "B", "A2")
	c.Appends[0].Expect = 0
	c.Appends[0].Events[2].ID = core.ID{0xab, 0xcd}
	c.Appends[0].Events[2].Time = time.Unix(1, 0)
	c.Appends[0].Events[2].Metadata = []byte(`{"m":1}`)
	c.Appends = append(c.Appends, commit("s-2", "B").Appends...)
	c.Appends = append(c.Appends, commit("s-3", "A3").Appends...)
	if _, err := n.store.Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want := "s-1 A1 v1 p0 {}  0000 0 config 5\ns-1 A2 v3 p0 {} {\"m\":1} abcd 8 config 5\ns-3 A3 v0 p0 {}  0000 0 config 5"
	if got := strings.Join(seen, "\n"); got != want {
		t.Errorf("it sees\n%s\nwant\n%s", got, want)
	}
}

// A Commit of more events than a batch has is judged to its last event.
func TestManyEvents(t *testing.T) {
	l := newLibrary(t)
	l.add("v", "1", byType)
	n := inMemory(t, l)
	n.deploy("v", "1", "*")
	types := make([]string, core.MaxCommitEvents)
	for i := range types {
		types[i] = "Good"
	}
	n.wants(n.append("s", types...), "")
	types[len(types)-1] = "Bad"
	err := n.append("s", types...)
	n.wants(err, core.CodeAppendRefused)
	if !strings.Contains(err.Error(), "event 9999 of stream") {
		t.Error(err)
	}
	large := commit("s", "Good", "Good", "Good", "Bad")
	for i := range large.Appends[0].Events {
		large.Appends[0].Events[i] = core.NewEvent{Type: large.Appends[0].Events[i].Type, Format: core.Bytes, Data: make([]byte, core.MaxEventBytes)}
	}
	_, err = n.store.Append(t.Context(), large)
	n.wants(err, core.CodeAppendRefused)
}

// Of several validators, the first by name that refuses decides.
func TestSeveralValidators(t *testing.T) {
	l := newLibrary(t)
	l.add("a", "1", byType)
	l.add("b", "1", refuse("never"))
	n := inMemory(t, l)
	n.deploy("b", "1", "s", "t")
	n.deploy("a", "1", "s")
	for what, want := range map[string]string{"s Bad": `"a" refuses`, "s Good": `"b" refuses`, "t Bad": `"b" refuses`} {
		stream, typ, _ := strings.Cut(what, " ")
		if err := n.append(stream, typ); !errors.Is(err, core.CodeAppendRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFailures(t *testing.T) {
	l := newLibrary(t)
	l.add("v", "1", func(ctx context.Context, c *plugins.Connection, e *abi.Event) (string, error) {
		switch string(e.Type) {
		case "Trap":
			return trap(ctx, c, e)
		case "Full":
			return "", core.Errorf(core.CodeOverloaded, "the node has no memory left")
		}
		return "", nil
	})
	n := inMemory(t, l)
	n.deploy("v", "1", "s")
	for range 3 {
		n.wants(n.append("s", "Trap"), core.CodeValidatorFailed)
		n.wants(n.append("s", "Full"), core.CodeValidatorUnavailable)
		n.wants(n.append("s", "Good"), "")
	}
	if err := n.append("s", "Trap"); !strings.Contains(err.Error(), `validator "v" failed on event 0 of stream "s", Trap: plugin crashed: unreachable`) {
		t.Error(err)
	}
	if err := n.append("s", "Good", "Trap"); !strings.Contains(err.Error(), `validator "v" failed on one of 2 events, the first of which is event 0 of stream "s", Good: plugin crashed`) {
		t.Error(err)
	}
	s, err := n.Deploy(t.Context(), "v", plugins.Deploy{OnError: &plugins.ErrorPolicy{Then: plugins.ThenAccept}})
	if err != nil || s.OnError.Then != plugins.ThenAccept {
		t.Fatalf("%+v, %v", s, err)
	}
	n.wants(n.append("s", "Trap"), "")
	s, err = n.Status(t.Context(), "v")
	if err != nil || s.Totals.Failures != 9 || s.Totals.Refused != 0 || s.Totals.Starts < 8 {
		t.Errorf("%+v, %v", s.Totals, err)
	}
	if got := n.lines.all; len(got) == 0 || len(got) > 3 || !strings.Contains(got[0], "an append was refused: validator") {
		t.Errorf("%d lines are logged: %q", len(got), got)
	}
}

// A validator that loops is cut at its budget, and holds up nothing but its streams.
func TestALoopIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		l.add("v", "1", loop)
		n := inMemory(t, l)
		s, err := n.Deploy(t.Context(), "v", plugins.Deploy{Version: "1", Input: inputOf("loops-*"), Limits: &plugins.Limits{TimeMs: 500}})
		if err != nil || s.Limits.TimeMs != 500 || s.Limits.Fuel != plugins.DefaultLimits().Fuel {
			t.Fatalf("%+v, %v", s.Limits, err)
		}
		begun := time.Now()
		var answers sync.WaitGroup
		for i := range 8 {
			answers.Go(func() { n.wants(n.append(fmt.Sprint("loops-", i), "T"), core.CodeValidatorFailed) })
		}
		synctest.Wait()
		n.wants(n.append("other", "T"), "")
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("another stream waited %v", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		n.wants(n.appendTo(ctx, "loops-9", "T"), core.CodeTimeout)
		answers.Wait()
		if waited := time.Since(begun); waited != time.Second { // four at a time
			t.Errorf("the last was cut after %v", waited)
		}
	})
}

// Close waits for what is judged, and refuses what waits for that.
func TestCloseUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		end := make(chan struct{})
		l.add("v", "1", func(context.Context, *plugins.Connection, *abi.Event) (string, error) {
			<-end
			return "", nil
		})
		n := inMemory(t, l)
		n.deploy("v", "1", "s-*")
		var judged, refused atomic.Int64
		var answers sync.WaitGroup
		for i := range 100 {
			answers.Go(func() {
				switch err := n.append(fmt.Sprint("s-", i), "T"); {
				case err == nil:
					judged.Add(1)
				case errors.Is(err, core.CodeShuttingDown):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- n.Close(t.Context()) }()
		synctest.Wait()
		close(end)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		answers.Wait()
		if judged.Load() != 4 || refused.Load() != 96 {
			t.Errorf("%d were judged, and %d refused", judged.Load(), refused.Load())
		}
	})
}

// A validator that was late because it did not get to run is asked again, for a second at most.
func TestABusyMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		tries := 0
		l.add("v", "1", func(_ context.Context, c *plugins.Connection, e *abi.Event) (string, error) {
			time.Sleep(c.Limits.Time())
			if tries++; string(e.Type) == "Soon" && tries == 5 {
				return "", nil
			}
			return "", &plugins.Failure{Reason: "timed out", Late: true}
		})
		n := inMemory(t, l)
		n.deploy("v", "1", "s")
		n.wants(n.append("s", "Soon"), "")
		begun := time.Now()
		n.wants(n.append("s", "Later"), core.CodeValidatorUnavailable)
		if waited := time.Since(begun); waited < time.Second || waited > 1100*time.Millisecond {
			t.Errorf("it was asked for %v", waited)
		}
		if s, err := n.Status(t.Context(), "v"); err != nil || s.Totals.Failures != 1 || s.Totals.Batches != 2 {
			t.Errorf("%+v, %v", s.Totals, err)
		}
	})
}

// A validator's life, and what other nodes see of it.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		l.add("v", "1", refuse("one"))
		l.add("v", "2", refuse("two"))
		log := memory.NewLog()
		here, there := newNode(t, log.Open(), l), newNode(t, log.Open(), l)
		// says expects what each node thinks of an append, once a second has passed.
		says := func(want string) {
			t.Helper()
			for i, n := range []*node{here, there} {
				err := n.append("s", "T")
				if got := ""; err == nil && want != "" || err != nil && (got == want || !strings.HasSuffix(err.Error(), ": "+want)) {
					t.Errorf("node %d: %v, want %q", i, err, want)
				}
				time.Sleep(1001 * time.Millisecond)
			}
		}
		s := here.deploy("v", "1", "s")
		if s.Generation != 1 || s.Subscription != "" || s.Lanes != 0 || s.Limits.TimeMs != 10 || s.OnError.Then != plugins.ThenRefuse {
			t.Errorf("%+v", s)
		}
		says("one")
		if s = here.deploy("v", "2", "s", "t"); s.Previous != "1" || len(s.Input.Filter.Streams) != 2 {
			t.Errorf("%+v", s)
		}
		says("two")
		if s, err := there.Rollback(t.Context(), "v", plugins.Rollback{}); err != nil || s.Version != "1" || s.State != plugins.Running {
			t.Errorf("%+v, %v", s, err)
		}
		time.Sleep(time.Second)
		says("one")
		if s, err := here.Pause(t.Context(), "v"); err != nil || s.State != plugins.Paused || !strings.Contains(s.Reason, "not in force") {
			t.Errorf("%+v, %v", s, err)
		}
		says("")
		if s, err := here.Resume(t.Context(), "v"); err != nil || s.State != plugins.Running || s.Reason != "" {
			t.Errorf("%+v, %v", s, err)
		}
		says("one")
		if err := here.Delete(t.Context(), "v"); err != nil {
			t.Error(err)
		}
		says("")
		_, err := here.Status(t.Context(), "v")
		here.wants(err, core.CodeBindingNotFound)
		if s = here.deploy("v", "2", "s"); s.Generation != 2 || s.FirstGeneration != 2 || s.Totals.Batches != 0 {
			t.Errorf("deployed again: %+v", s)
		}
		says("two")
	})
}

// A node has validators in force before it takes appends. What it cannot load refuses, unless it
// is told otherwise.
func TestStart(t *testing.T) {
	l := newLibrary(t)
	for _, p := range []string{"good", "broken", "lenient"} {
		l.add(p, "1", refuse("no"))
	}
	log := memory.NewLog()
	first := newNode(t, log.Open(), l)
	first.deploy("good", "1", "good")
	first.deploy("broken", "1", "broken")
	first.deploy("lenient", "1", "lenient")
	if _, err := first.Deploy(t.Context(), "lenient", plugins.Deploy{OnError: &plugins.ErrorPolicy{Then: plugins.ThenAccept}}); err != nil {
		t.Fatal(err)
	}
	l.breakVersion("broken@1", errors.New("no such module"))
	l.breakVersion("lenient@1", errors.New("no such module"))
	second := newNode(t, log.Open(), l)
	second.wants(second.append("good", "T"), core.CodeAppendRefused)
	second.wants(second.append("broken", "T"), core.CodeValidatorUnavailable)
	second.wants(second.append("lenient", "T"), "")
	if s, err := second.Status(t.Context(), "broken"); err != nil || s.State != plugins.Broken || !strings.Contains(s.Reason, "cannot be loaded") {
		t.Errorf("%s %s, %v", s.State, s.Reason, err)
	}
	without := newNode(t, log.Open(), nil) // a node that runs no plugins
	without.wants(without.append("good", "T"), core.CodeValidatorUnavailable)
	without.wants(without.append("lenient", "T"), "")
	_, err := without.Deploy(t.Context(), "good", plugins.Deploy{Version: "1"})
	without.wants(err, core.CodeNotSupported)
	for _, n := range []*node{first, second, without} {
		if err := n.Close(t.Context()); err != nil {
			t.Error(err)
		}
		n.wants(n.append("good", "T"), core.CodeShuttingDown)
		n.wants(n.append("other", "T"), "")
	}
}

// Until a node has loaded a new version, the one before judges: also where it cannot load it, and
// where the one who deployed it does not wait for that.
func TestTheOneBeforeJudgesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other := newLibrary(t), newLibrary(t)
		for _, version := range []string{"1", "2", "3"} {
			l.add("v", version, refuse(version))
			other.add("v", version, refuse(version))
		}
		log := memory.NewLog()
		here, there := newNode(t, log.Open(), l), newNode(t, log.Open(), other)
		says := func(n *node, want string) {
			t.Helper()
			if err := n.append("s", "T"); !errors.Is(err, core.CodeAppendRefused) || !strings.HasSuffix(err.Error(), ": "+want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		here.deploy("v", "1", "s")
		time.Sleep(1001 * time.Millisecond)
		other.breakVersion("v@2", errors.New("no such module"))
		here.deploy("v", "2", "s")
		time.Sleep(5 * time.Second)
		says(here, "2")
		says(there, "1")
		if s, err := there.Status(t.Context(), "v"); err != nil || s.State != plugins.Starting || !strings.Contains(s.Reason, "version 1 is: ") || !strings.Contains(s.Reason, "cannot be loaded") {
			t.Errorf("%s %s, %v", s.State, s.Reason, err)
		}
		other.breakVersion("v@2", nil)
		time.Sleep(10 * time.Second)
		says(there, "2")

		ctx, cancel := context.WithCancel(t.Context())
		loads := 0
		l.onLoad(func() error {
			if loads++; loads == 1 {
				return nil // it is tried
			}
			cancel()
			return ctx.Err()
		})
		if s, err := here.Deploy(ctx, "v", plugins.Deploy{Version: "3"}); err != nil || s.State != plugins.Starting {
			t.Errorf("%s %s, %v", s.State, s.Reason, err)
		}
		l.onLoad(nil)
		says(here, "2")
		time.Sleep(1001 * time.Millisecond)
		says(here, "3")
	})
}

// Of a record that cannot be read nobody knows what it is for: all appends are refused, at each
// node, until it is deleted.
func TestRecordThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		l.add("v", "1", byType)
		log := memory.NewLog()
		here, there := newNode(t, log.Open(), l), newNode(t, log.Open(), l)
		here.deploy("v", "1", "s")
		for _, value := range []string{`{"name":"v","input":5}`, `{"name":"other"}`, "\x00"} {
			record := core.RecordOp{Table: plugins.ValidatorsTable, Key: "v", Expect: core.AnyVersion, Value: []byte(value)}
			if _, err := here.store.Append(t.Context(), core.Commit{Records: []core.RecordOp{record}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(lookTwice)
			started := newNode(t, log.Open(), l) // this one has never read it
			for _, n := range []*node{here, there, started} {
				err := n.append("any", "T")
				n.wants(err, core.CodeValidatorUnavailable)
				if !strings.Contains(err.Error(), "all appends are refused") || !strings.Contains(err.Error(), "gyre plugin rm v deletes it") {
					t.Error(err)
				}
				s, err := n.Status(t.Context(), "v")
				page, listErr := n.List(t.Context(), plugins.ListRequest{})
				if err != nil || listErr != nil || s.State != plugins.Broken || !strings.Contains(s.Reason, "gyre plugin rm v") ||
					len(page.Bindings) != 1 || page.Bindings[0].State != plugins.Broken {
					t.Errorf("%+v %+v, %v, %v", s, page, err, listErr)
				}
			}
			_, err := here.Uses(t.Context(), "other", "1") // it may name any version
			here.wants(err, core.CodePluginInUse)
			_, err = here.Binding(t.Context(), "v")
			here.wants(err, core.CodeStoreCorrupt)
			_, err = here.Deploy(t.Context(), "v", plugins.Deploy{Version: "1", Input: inputOf("s")})
			here.wants(err, core.CodeStoreCorrupt)
			_, err = here.Pause(t.Context(), "v")
			here.wants(err, core.CodeStoreCorrupt)
		}
		if err := there.Delete(t.Context(), "v"); err != nil {
			t.Fatal(err)
		}
		if names, err := there.Uses(t.Context(), "v", "1"); err != nil || len(names) > 0 {
			t.Error(names, err)
		}
		there.wants(there.append("any", "Bad"), "")
		time.Sleep(lookTwice)
		here.wants(here.append("any", "Bad"), "")
		if s := here.deploy("v", "1", "s"); s.Generation != 2 { // the log of the first is not its own
			t.Errorf("it is generation %d", s.Generation)
		}
		here.wants(here.append("s", "Bad"), core.CodeAppendRefused)
	})
}

// lookTwice is enough for each node to have looked for changes.
const lookTwice = 2001 * time.Millisecond

// A validator that is taken from streams begins a new log: who is granted those of now does not
// read what was logged of the others.
func TestLogEndsWithItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLibrary(t)
		l.add("v", "1", accept)
		log := memory.NewLog()
		here, there := newNode(t, log.Open(), l), newNode(t, log.Open(), l)
		here.deploy("v", "1", "a-*")
		time.Sleep(lookTwice)
		for _, c := range []struct {
			streams    []string
			generation uint64
			ended      string
		}{
			{[]string{"a-*", "b"}, 1, "[]"}, {[]string{"*"}, 1, "[]"}, {[]string{"b"}, 2, "[v 1]"}, {[]string{"b"}, 2, "[v 1]"}, {[]string{"a-*"}, 3, "[v 1 v 2]"},
		} {
			if s := here.deploy("v", "1", c.streams...); s.Generation != c.generation || s.FirstGeneration != c.generation {
				t.Errorf("%s: %d, %d", c.streams, s.Generation, s.FirstGeneration)
			}
			time.Sleep(lookTwice)
			for i, n := range []*node{here, there} {
				if got := fmt.Sprint(n.deleted()); got != c.ended {
					t.Errorf("%s: node %d has deleted the logs %s, want %s", c.streams, i, got, c.ended)
				}
			}
		}
		if err := here.Delete(t.Context(), "v"); err != nil {
			t.Fatal(err)
		}
		if s := here.deploy("v", "1", "b"); s.Generation != 4 {
			t.Errorf("deployed again: generation %d", s.Generation)
		}
	})
}

func TestBadDeploys(t *testing.T) {
	l := newLibrary(t)
	l.add("v", "1", accept)
	l.addOf("handler", "1", plugins.KindHandler, accept)
	l.addOf("filter", "1", plugins.KindFilter, accept)
	l.add("missing", "1", accept)
	l.breakVersion("missing@1", core.Errorf(core.CodeBlobNotFound, "it is gone"))
	n := inMemory(t, l)
	expr := inputOf("s")
	expr.Filter.Expr = "true"
	from := inputOf("s")
	from.From = json.RawMessage(`"end"`)
	for what, c := range map[string]struct {
		name string
		d    plugins.Deploy
		want core.Code
		says string
	}{
		"no streams":        {d: plugins.Deploy{Version: "1"}, want: core.CodeInvalidRequest, says: "input.filter.streams is missing"},
		"a system's stream": {d: plugins.Deploy{Version: "1", Input: inputOf("order-*", "$audit")}, want: core.CodeReservedStreamName, says: `"$audit"`},
		"all":               {d: plugins.Deploy{Version: "1", Input: &plugins.Input{Stream: core.All}}, want: core.CodeReservedStreamName, says: `"$all"`},
		"stream and more":   {d: plugins.Deploy{Version: "1", Input: &plugins.Input{Stream: "a", Filter: inputOf("b").Filter}}, want: core.CodeInvalidRequest, says: "one more pattern"},
		"an empty pattern":  {d: plugins.Deploy{Version: "1", Input: inputOf("")}, want: core.CodeInvalidFilter, says: "input.filter"},
		"an expression":     {d: plugins.Deploy{Version: "1", Input: expr}, want: core.CodeInvalidRequest, says: "input.filter: expr"},
		"a place":           {d: plugins.Deploy{Version: "1", Input: from}, want: core.CodeInvalidRequest, says: "mean nothing"},
		"lanes":             {d: plugins.Deploy{Version: "1", Input: inputOf("s"), Lanes: 2}, want: core.CodeInvalidRequest, says: "lanes is 2"},
		"loops":             {d: plugins.Deploy{Version: "1", Input: inputOf("s"), AllowLoops: new(true)}, want: core.CodeInvalidRequest, says: "appends nothing"},
		"grants":            {d: plugins.Deploy{Version: "1", Input: inputOf("s"), Grants: []string{"state"}}, want: core.CodeInvalidRequest, says: "granted nothing"},
		"time":              {d: plugins.Deploy{Version: "1", Input: inputOf("s"), Limits: &plugins.Limits{TimeMs: 1001}}, want: core.CodeInvalidRequest, says: "from 1 to 1000"},
		"an error policy":   {d: plugins.Deploy{Version: "1", Input: inputOf("s"), OnError: &plugins.ErrorPolicy{Then: plugins.ThenPark}}, want: core.CodeInvalidRequest, says: "refuse or accept"},
		"config":            {d: plugins.Deploy{Version: "1", Input: inputOf("s"), Config: json.RawMessage(`{"bad":true}`)}, want: core.CodeInvalidPluginConfig},
		"no version":        {d: plugins.Deploy{Version: "9", Input: inputOf("s")}, want: core.CodeVersionNotFound},
		"a filter":          {name: "filter", d: plugins.Deploy{Version: "1", Input: inputOf("s")}, want: core.CodeInvalidRequest, says: "has no binding"},
		"no module":         {name: "missing", d: plugins.Deploy{Version: "1", Input: inputOf("s")}, want: core.CodeBlobNotFound},
		"refused":           {d: plugins.Deploy{Version: "1", Input: inputOf("s"), Admit: func(_, _ *plugins.Binding) error { return core.Errorf(core.CodeForbidden, "no") }}, want: core.CodeForbidden},
	} {
		if c.name == "" {
			c.name = "v"
		}
		_, err := n.Deploy(t.Context(), c.name, c.d)
		if err == nil || core.AsError(err).Code != c.want || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s: %s", what, err, c.want, c.says)
		}
	}
	if page, err := n.List(t.Context(), plugins.ListRequest{}); err != nil || len(page.Bindings) != 0 || !page.End {
		t.Errorf("%+v, %v", page, err)
	}
	n.deploy("v", "1", "s")
	_, err := n.Deploy(t.Context(), "v", plugins.Deploy{Plugin: "handler", Version: "1"})
	n.wants(err, core.CodeInvalidRequest)
	if _, err := n.Rollback(t.Context(), "v", plugins.Rollback{To: plugins.ToGeneration}); !errors.Is(err, core.CodeInvalidRequest) {
		t.Error(err)
	}
	if _, err := n.Rollback(t.Context(), "v", plugins.Rollback{}); !errors.Is(err, core.CodeNothingBefore) {
		t.Error(err)
	}
}

// While a validator is changed all the time, nothing is appended unjudged, and nobody is refused
// because of the change.
func TestChangesUnderLoad(t *testing.T) {
	l := newLibrary(t)
	var judged atomic.Int64
	for _, version := range []string{"1", "2"} {
		l.add("v", version, func(context.Context, *plugins.Connection, *abi.Event) (string, error) {
			judged.Add(1)
			return "", nil
		})
	}
	n := inMemory(t, l)
	n.deploy("v", "1", "s-*")
	done := make(chan struct{})
	var running sync.WaitGroup
	var appended atomic.Int64
	for i := range 4 {
		running.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := n.append(fmt.Sprint("s-", i), "T"); err != nil {
					t.Error(err)
					return
				}
				appended.Add(1)
			}
		})
	}
	for i := range 50 {
		n.deploy("v", []string{"2", "1"}[i%2], "s-*")
	}
	close(done)
	running.Wait()
	if judged.Load() != appended.Load() || appended.Load() == 0 {
		t.Errorf("%d of %d appends were judged", judged.Load(), appended.Load())
	}
}
