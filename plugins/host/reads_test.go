package host_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// write appends an event to a stream, and returns its id.
func (n *node) write(stream, typ string) core.ID {
	n.t.Helper()
	id := core.NewID()
	n.commit(core.Append{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: typ, Data: []byte("1")}}})
	return id
}

// link links events into a stream.
func (n *node) link(stream string, ids ...core.ID) {
	n.t.Helper()
	n.commit(core.Append{Stream: stream, Expect: core.AnyVersion, Links: ids})
}

func (n *node) commit(a core.Append) {
	n.t.Helper()
	if _, err := n.store.Append(n.t.Context(), core.Commit{System: true, Appends: []core.Append{a}}); err != nil {
		n.t.Fatal(err)
	}
}

// TestReadStreamPassesOverLinksThatAreNotGranted: a link is read by a plugin that is granted the
// stream that it is in and the stream of its event.
func TestReadStreamPassesOverLinksThatAreNotGranted(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		secret, own, system := n.write("billing-1", "Secret"), n.write("order-1", "Own"), n.write("$audit", "System")
		n.link("order-all", secret, own, system)
		n.link("order-foreign", secret)
		var many []core.ID
		for range 2*abi.MaxBatchEvents + 1 {
			many = append(many, n.write("billing-2", "Secret"))
		}
		n.link("order-far", append(many, own)...)

		got := map[string]string{}
		done := make(chan struct{})
		tried := func(c *call) error {
			for _, stream := range []string{"order-all", "order-far", "order-foreign", "billing-1", "$all"} {
				got[stream] = c.typesOf(stream)
			}
			done <- struct{}{}
			return nil
		}
		for name, x := range map[string]struct {
			grant string
			want  map[string]string
		}{
			"orders": {"streams.read:order-*", map[string]string{
				"order-all": "Own", "order-far": "Own", "order-foreign": "", "billing-1": "denied", "$all": "denied",
			}},
			"everything": {"streams.read", map[string]string{
				"order-all": "Secret Own", "order-far": "Secret Secret", "order-foreign": "Secret", "billing-1": "Secret", "$all": "Secret Own",
			}},
		} {
			n.add(name, "1", plugins.Manifest{Subscription: plugins.Input{Stream: "try-" + name}}, tried)
			n.deploy(name, plugins.Deploy{Version: "1", Grants: []string{x.grant}})
			n.write("try-"+name, "Tried")
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Fatal("the plugin was not called")
			}
			if !maps.Equal(got, x.want) {
				t.Errorf("%s: %q, want %q", x.grant, got, x.want)
			}
		}
	})
}

// TestReadOfAStreamThatIsDeleted: a lane finds no events in streams that are deleted and tombstoned,
// and goes on.
func TestReadOfAStreamThatIsDeleted(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.write("deleted", "Written")
		n.change("deleted", core.DeleteStream)
		n.change("tombstoned", core.TombstoneStream)
		n.add("p", "1", plugins.Manifest{Subscription: plugins.Input{Stream: "in"}}, func(c *call) error {
			return c.append("out", -1, "Read", fmt.Sprintf("%q", c.typesOf("deleted")+", "+c.typesOf("tombstoned")))
		})
		n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"append:out", "streams.read"}})
		n.write("in", "Tried")
		n.awaitStatus("p", "appends one", func(s *plugins.Status) bool { return len(n.events("out")) == 1 })
		if got := string(n.events("out")[0].Data); got != `"not found, not found"` {
			t.Errorf("it read %s", got)
		}
	})
}

func (n *node) change(stream string, action core.StreamAction) {
	n.t.Helper()
	op := core.StreamOp{Stream: stream, Expect: core.AnyVersion, Action: action}
	if _, err := n.store.Append(n.t.Context(), core.Commit{Streams: []core.StreamOp{op}}); err != nil {
		n.t.Fatal(err)
	}
}

// typesOf are the types of the first two events of a stream, or why there are none.
func (c *call) typesOf(stream string) string {
	view, e := c.Reads.ReadStream([]byte(stream), 1, 2)
	if e != abi.OK {
		return e.Error()
	}
	batch, err := abi.OpenBatch(view)
	var types []string
	for ok := err == nil; ok; {
		var event abi.Event
		if ok, err = batch.Next(&event); ok {
			types = append(types, string(event.Type))
		}
	}
	if err != nil {
		return err.Error()
	}
	return strings.Join(types, " ")
}

// TestPluginsSeeNoLinkedEventsOfTheSystem: who may deploy a plugin over every stream may not see
// those of the system.
func TestPluginsSeeNoLinkedEventsOfTheSystem(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.add("p", "1", plugins.Manifest{Subscription: plugins.Input{Stream: "view"}}, func(c *call) error {
			return c.put(string(c.Type), "seen")
		})
		n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"state"}})
		n.link("view", n.write("$audit", "System"), n.write("order-1", "Own"))
		n.write("view", "Last")
		n.awaitStatus("p", "has seen the last event", func(*plugins.Status) bool { return n.state("p", 0)["Last"] != "" })
		if seen := n.state("p", 0); !maps.Equal(seen, map[string]string{"Own": "seen", "Last": "seen"}) {
			t.Errorf("it has seen %v", seen)
		}
	})
}
