package host_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// readAt reads a key of the state, as it is at a position or later.
func (n *node) readAt(name, key string, atLeast uint64, within time.Duration) (plugins.Entry, error) {
	ctx, cancel := context.WithTimeout(n.t.Context(), within)
	defer cancel()
	return n.host.Get(ctx, name, plugins.KeyRequest{Lane: plugins.OnlyLane, Key: key, AtLeast: atLeast})
}

var totalsManifest = plugins.Manifest{Kind: plugins.KindProjection, Subscription: plugins.Input{Stream: "s-0"}}

// totals counts events, and parks those of type Bad.
func totals(c *call) error {
	if string(c.Type) == "Bad" {
		if e := c.Effects.Result(c.index, abi.Park, 0, []byte("bad")); e != abi.OK {
			return e
		}
		return nil
	}
	_, err := c.count("all")
	return err
}

// TestReadYourWrites: a read with a position waits until the binding has handled or parked
// everything up to there.
func TestReadYourWrites(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("totals", "1", totalsManifest, totals)
		n.deploy("totals", plugins.Deploy{Version: "1", Grants: []string{"state"}})
		for i := 1; i <= 20; i++ {
			n.append("Good", 1, 1)
			head := n.store.State().Head
			e, err := n.readAt("totals", "all", head, time.Minute)
			if err != nil || string(e.Value) != strconv.Itoa(i) || e.Position < head {
				t.Fatalf("after event %d: %+v, %v", i, e, err)
			}
		}
		n.append("Bad", 1, 1)
		if e, err := n.readAt("totals", "all", n.store.State().Head, time.Minute); err != nil || string(e.Value) != "20" {
			t.Errorf("after an event that is parked: %+v, %v", e, err)
		}
		n.write("other", "NotForIt")
		began := time.Now()
		if e, err := n.readAt("totals", "all", n.store.State().Head, time.Minute); err != nil || e.Position < n.store.State().Head || time.Since(began) > 30*time.Second {
			t.Errorf("after an event that is not for it: %+v, %v", e, err)
		}
		page, err := n.host.Entries(t.Context(), "totals", plugins.StateRequest{Lane: 0, AtLeast: n.store.State().Head})
		if err != nil || len(page.Entries) != 1 || page.Position < n.store.State().Head {
			t.Errorf("%+v, %v", page, err)
		}
		if e, err := n.readAt("totals", "all", 0, time.Minute); err != nil || e.Position == 0 {
			t.Errorf("a read without a position: %+v, %v", e, err)
		}

		// The end of the log is waited for.
		next := n.store.State().Head + 2
		got := make(chan error, 1)
		go func() {
			_, err := n.readAt("totals", "all", next, time.Minute)
			got <- err
		}()
		n.append("Good", 2, 1)
		if err := <-got; err != nil {
			t.Error(err)
		}
		_, err = n.readAt("totals", "all", next+1_000, 100*time.Millisecond)
		if !errors.Is(err, core.CodeTimeout) || !strings.Contains(err.Error(), strconv.FormatUint(next, 10)) || !strings.Contains(err.Error(), strconv.FormatUint(next+1_000, 10)) {
			t.Errorf("a position that the log does not reach: %v", err)
		}

		// A binding that is paused is said to be.
		if _, err := n.host.Pause(t.Context(), "totals"); err != nil {
			t.Fatal(err)
		}
		n.append("Good", 1, 1)
		_, err = n.readAt("totals", "all", n.store.State().Head, 100*time.Millisecond)
		if !errors.Is(err, core.CodeTimeout) || !strings.Contains(err.Error(), "paused") {
			t.Errorf("of a binding that is paused: %v", err)
		}
		if _, err := n.host.Resume(t.Context(), "totals"); err != nil {
			t.Fatal(err)
		}
		if e, err := n.readAt("totals", "all", n.store.State().Head, time.Minute); err != nil || string(e.Value) != "23" {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// TestQuery: a version answers queries from its state. It changes nothing, and when it fails nothing
// of the binding does.
func TestQuery(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("totals", "1", totalsManifest, totals)
		n.answers("totals@1", func(ctx context.Context, c plugins.Connection, query []byte) (abi.Verdict, error) {
			switch string(query) {
			case "all":
				value, e := c.Reads.Get([]byte("all"))
				if e != abi.OK {
					return 0, e
				}
				_ = c.Effects.Result(0, abi.Ack, 0, value) // the answer shows what came of it, here and below
			case "effects":
				text := ""
				_, e := c.Reads.ReadStream([]byte("s-0"), 1, 1)
				for _, e := range []abi.Errno{
					c.Effects.Put(0, []byte("k"), []byte("v")), c.Effects.Delete(0, []byte("all")), c.Effects.Append(0, []byte("s"), -1, nil), e,
				} {
					text += e.Error() + " "
				}
				_ = c.Effects.Result(0, abi.Ack, 0, []byte(text))
			case "large":
				_ = c.Effects.Result(0, abi.Ack, 0, make([]byte, abi.MaxAnswerBytes+1))
			case "none":
			case "fail":
				_ = c.Effects.Result(0, abi.Park, 0, []byte("there is\nno such thing"))
				return -1, nil
			case "fuel":
				return 0, &plugins.Failure{Reason: "out of fuel", Stack: "inner\nouter", Limit: true}
			case "trap":
				return 0, &plugins.Failure{Reason: "crashed", Detail: "unreachable", Stack: "inner\nouter"}
			case "panic":
				panic("at the disco")
			case "wait":
				<-ctx.Done()
			}
			return abi.Done, nil
		})
		n.deploy("totals", plugins.Deploy{Version: "1", Grants: []string{"state"}})
		n.append("Good", 3, 1)
		ask := func(query string) (plugins.Answer, error) {
			return n.host.Query(t.Context(), "totals", plugins.Query{Lane: plugins.OnlyLane, Text: []byte(query), AtLeast: 3})
		}
		if a, err := ask("all"); err != nil || string(a.Value) != "3" || a.Position < 3 {
			t.Fatalf("%+v, %v", a, err)
		}
		if a, err := ask("effects"); err != nil || string(a.Value) != strings.Repeat("denied ", 4) {
			t.Errorf("%q, %v", a.Value, err)
		}
		before, err := n.host.Status(t.Context(), "totals")
		if err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]struct {
			code core.Code
			text string
		}{
			"large":                                  {core.CodePluginLimit, "1048577 bytes"},
			"none":                                   {core.CodePluginFailed, "without an answer"},
			"fail":                                   {core.CodePluginFailed, "there is no such thing"},
			"fuel":                                   {core.CodePluginLimit, "out of fuel (in inner < outer)"},
			"trap":                                   {core.CodePluginFailed, "unreachable (in inner < outer)"},
			"panic":                                  {core.CodePluginFailed, "at the disco"},
			strings.Repeat("x", abi.MaxQueryBytes+1): {core.CodeInvalidRequest, "65537 bytes"},
		} {
			if a, err := ask(query); !errors.Is(err, want.code) || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%.10s: %q, %v", query, a.Value, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := n.host.Query(ctx, "totals", plugins.Query{Text: []byte("wait")}); !errors.Is(err, core.CodeTimeout) {
			t.Errorf("a query that takes longer than its request: %v", err)
		}
		if a, err := ask("all"); err != nil || string(a.Value) != "3" {
			t.Errorf("%+v, %v", a, err)
		}
		after, err := n.host.Status(t.Context(), "totals")
		if err != nil || after.State != plugins.Running || after.Totals != before.Totals || len(n.state("totals", 0)) != 1 {
			t.Errorf("the queries have touched the binding: %+v, %v", after, err)
		}
		n.add("mute", "1", totalsManifest, totals)
		n.deploy("mute", plugins.Deploy{Version: "1", Grants: []string{"state"}})
		if _, err := n.host.Query(t.Context(), "mute", plugins.Query{}); !errors.Is(err, core.CodeNoQuery) {
			t.Errorf("of a version that answers none: %v", err)
		}
		n.add("lanes", "1", plugins.Manifest{Lanes: 4, Subscription: plugins.Input{PartitionBy: subscriptions.ByStream}}, totals)
		n.deploy("lanes", plugins.Deploy{Version: "1", Grants: []string{"state"}})
		for _, lane := range []int{plugins.OnlyLane, 9} {
			if _, err := n.host.Query(t.Context(), "lanes", plugins.Query{Lane: lane}); !errors.Is(err, core.CodeNoQuery) {
				t.Errorf("of one with lanes that answers none: %v", err)
			}
		}
	})
}
