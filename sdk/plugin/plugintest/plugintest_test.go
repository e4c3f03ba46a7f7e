package plugintest_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

// tally counts types, and does what some types say.
func tally(c *plugin.Context, e *plugin.Event) error {
	if _, err := c.State().Add(e.Type, 1); err != nil {
		return err
	}
	if err := c.Append("out", "Seen", json.NewObject().Text("type", e.Type).Bytes()); err != nil {
		return err
	}
	switch e.Type {
	case "retry":
		return plugin.Retry(time.Second, "later")
	case "park":
		return plugin.Park("never")
	case "skip":
		return plugin.Skip
	case "stop":
		return plugin.Stop("enough")
	case "fail":
		return errors.New("no luck")
	case "panic":
		panic("oh")
	}
	return nil
}

func event(typ string) plugintest.Event {
	return plugintest.Event{Stream: "s", Type: typ, Data: "{}"}
}

func TestEffectsEndAtTheEventThatFails(t *testing.T) {
	for typ, want := range map[string]plugintest.Result{
		"retry": {Action: "retry", Reason: "later", After: time.Second},
		"fail":  {Action: "retry", Reason: "no luck"},
		"panic": {Action: "retry", Reason: "panic: oh"},
	} {
		test := plugintest.New(tally)
		done := test.Handle(event("a"), event(typ), event("b"))
		if got := []plugintest.Result{{Action: "ack"}, want, {}}; !reflect.DeepEqual(done.Results, got) {
			t.Errorf("%s: results %+v, want %+v", typ, done.Results, got)
		}
		if state := test.State(); len(done.Appended) != 1 || !reflect.DeepEqual(state, map[string]string{"a": "1"}) {
			t.Errorf("%s: appended %v, state %v", typ, done.Appended, state)
		}
		if typ == "panic" && !slices.ContainsFunc(done.Logs, func(l plugintest.Line) bool { return strings.Contains(l.Text, "tally") }) {
			t.Errorf("the stack of a panic is not in %v", done.Logs)
		}
	}
}

func TestTheLaneGoesOnAfterParkAndSkip(t *testing.T) {
	test := plugintest.New(tally)
	done := test.Handle(event("a"), event("park"), event("skip"), event("b"))
	want := []plugintest.Result{{Action: "ack"}, {Action: "park", Reason: "never"}, {Action: "skip", Reason: "skipped"}, {Action: "ack"}}
	if !reflect.DeepEqual(done.Results, want) {
		t.Errorf("results %+v, want %+v", done.Results, want)
	}
	if state := test.State(); !reflect.DeepEqual(state, map[string]string{"a": "1", "skip": "1", "b": "1"}) {
		t.Errorf("state %v", state)
	}
	var from []int
	for _, a := range done.Appended {
		from = append(from, a.Event)
	}
	if !slices.Equal(from, []int{0, 2, 3}) {
		t.Errorf("appended for the events %v", from)
	}
}

func TestStopDropsTheBatch(t *testing.T) {
	test := plugintest.New(tally)
	done := test.Handle(event("a"), event("stop"), event("b"))
	if done.Results[1].Action != "stop" || len(done.Appended) != 0 || len(test.State()) != 0 {
		t.Errorf("%+v, state %v", done, test.State())
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		handler plugin.Handler
		want    error
	}{
		"key":    {func(c *plugin.Context, _ *plugin.Event) error { return c.State().Put(strings.Repeat("k", 513), nil) }, plugin.ErrTooLarge},
		"no key": {func(c *plugin.Context, _ *plugin.Event) error { return c.State().Put("", nil) }, plugin.ErrInvalid},
		"value": {func(c *plugin.Context, _ *plugin.Event) error {
			return c.State().Put("k", make([]byte, abi.MaxValueBytes+1))
		}, plugin.ErrTooLarge},
		"writes": {func(c *plugin.Context, _ *plugin.Event) (err error) {
			for range abi.MaxStateWrites + 1 {
				err = c.State().PutInt("k", 1)
			}
			return err
		}, plugin.ErrQuota},
		"appended": {func(c *plugin.Context, _ *plugin.Event) (err error) {
			for range abi.MaxAppended + 1 {
				err = c.Append("s", "T", []byte("1"))
			}
			return err
		}, plugin.ErrQuota},
		"effects": {func(c *plugin.Context, _ *plugin.Event) (err error) {
			for range 15 {
				err = c.State().Put("k", make([]byte, abi.MaxValueBytes))
			}
			return err
		}, plugin.ErrQuota},
		"series": {func(c *plugin.Context, _ *plugin.Event) (err error) {
			for i := range abi.MaxSeries + 1 {
				err = c.Count(strings.Repeat("n", i+1), 1)
			}
			return err
		}, plugin.ErrQuota},
	} {
		done := plugintest.New(c.handler).Handle(event("a"))
		if want := (plugintest.Result{Action: "retry", Reason: c.want.Error()}); done.Results[0] != want || len(done.Appended) != 0 {
			t.Errorf("%s: %+v, want %+v", name, done.Results[0], want)
		}
	}
}

func TestLoad(t *testing.T) {
	name := filepath.Join(t.TempDir(), "events.ndjson")
	text := `{"stream":"a","id":"x","type":"T","time":"2020-01-02T03:04:05Z","data":{"n":1},"metadata":{"correlation_id":"c"}}` + "\n\n" + `{"stream":"b","type":"U","data":2}`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []plugintest.Event{
		{Stream: "a", Type: "T", Data: `{"n":1}`, Metadata: `{"correlation_id":"c"}`, Time: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)},
		{Stream: "b", Type: "U", Data: "2"},
	}
	if got := plugintest.Load(t, name); !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v", got)
	}
}
