package host_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// try runs a handler once, for one event, and returns what it has returned.
func try(t *testing.T, d plugins.Deploy, h handle) (n *node, err error) {
	t.Helper()
	n = newNode(t, memory.New())
	n.add("p", "1", plugins.Manifest{Subscription: plugins.Input{Filter: subscriptions.Filter{Streams: []string{"s-*", "loop-*"}}}}, func(c *call) error {
		if string(c.Stream) == "s-0" {
			err = h(c)
		}
		return nil
	})
	d.Version, d.AllowMissingSecrets = "1", true
	n.deploy("p", d)
	n.append("Tried", 1, 1)
	n.await("p", 1)
	return n, err
}

func TestEffectsAreGrantedAndBounded(t *testing.T) {
	big := strings.Repeat("x", abi.MaxValueBytes)
	for name, x := range map[string]struct {
		grants []string
		do     func(c *call) error
		want   abi.Errno
	}{
		"append granted":         {[]string{"append:out-*"}, func(c *call) error { return c.append("out-1", -1, "T", "1") }, abi.OK},
		"append not granted":     {[]string{"append:out-*", "state"}, func(c *call) error { return c.append("other", -1, "T", "1") }, abi.Denied},
		"state not granted":      {nil, func(c *call) error { return c.put("k", "v") }, abi.Denied},
		"state read not granted": {nil, func(c *call) error { _, _, err := c.get("k"); return err }, abi.Denied},
		"streams not granted":    {nil, func(c *call) error { _, e := c.Reads.ReadStream([]byte("s-0"), 0, 1); return c.errno(e) }, abi.Denied},
		"no such stream":         {[]string{"streams.read"}, func(c *call) error { _, e := c.Reads.ReadStream([]byte("none"), 0, 1); return c.errno(e) }, abi.NotFound},
		"secret":                 {[]string{"secret:A"}, func(c *call) error { _, e := c.Reads.Secret([]byte("A")); return c.errno(e) }, abi.NotFound},
		"secret not granted":     {[]string{"secret:A"}, func(c *call) error { _, e := c.Reads.Secret([]byte("B")); return c.errno(e) }, abi.Denied},
		"http":                   {[]string{"http:a:1"}, func(c *call) error { _, e := c.fetch("http://a:1"); return c.errno(e) }, abi.IO},
		"http not granted":       {[]string{"http:a:1"}, func(c *call) error { _, e := c.fetch("http://a:2"); return c.errno(e) }, abi.Denied},
		"http of no event": {[]string{"http:a:1"}, func(c *call) error {
			_, e := c.Reads.HTTP(-1, []byte(`{"url":"http://a:1"}`), time.Second)
			return c.errno(e)
		}, abi.Invalid},
		"no request": {[]string{"http:a:1"}, func(c *call) error { _, e := c.Reads.HTTP(c.index, nil, time.Second); return c.errno(e) }, abi.Invalid},
		"many calls": {[]string{"http:a:1"}, func(c *call) (err error) {
			for range 17 {
				_, e := c.fetch("http://a:1")
				err = c.errno(e)
			}
			return err
		}, abi.Quota},
		"not JSON":          {[]string{"append:*"}, func(c *call) error { return c.append("out", -1, "T", "{") }, abi.Invalid},
		"not UTF-8 in JSON": {[]string{"append:*"}, func(c *call) error { return c.append("out", -1, "T", "\"\xff\"") }, abi.Invalid},
		"a name twice":      {[]string{"append:*"}, func(c *call) error { return c.append("out", -1, "T", `{"a":1,"a":2}`) }, abi.Invalid},
		"bad metadata": {[]string{"append:*"}, func(c *call) error {
			b, _ := abi.AppendEvent(nil, &abi.Appended{Type: []byte("T"), Data: []byte("1"), Metadata: []byte("{\"a\":\"\xff\"}")})
			return c.errno(c.Effects.Append(c.index, []byte("out"), -1, b))
		}, abi.Invalid},
		"own input":                {[]string{"append:*"}, func(c *call) error { return c.append("loop-1", -1, "T", "1") }, abi.Denied},
		"reserved stream":          {[]string{"append:*"}, func(c *call) error { return c.append("$x", -1, "T", "1") }, abi.Invalid},
		"long key":                 {[]string{"state"}, func(c *call) error { return c.put(strings.Repeat("k", abi.MaxStateKeyBytes+1), "") }, abi.TooLarge},
		"empty key":                {[]string{"state"}, func(c *call) error { return c.put("", "v") }, abi.Invalid},
		"not UTF-8":                {[]string{"state"}, func(c *call) error { return c.put("\xff", "v") }, abi.Invalid},
		"large value":              {[]string{"state"}, func(c *call) error { return c.put("k", big+"x") }, abi.TooLarge},
		"no such event":            {[]string{"state"}, func(c *call) error { return c.errno(c.Effects.Put(1, []byte("k"), nil)) }, abi.Invalid},
		"unknown expected version": {[]string{"append:*"}, func(c *call) error { return c.append("out", -4, "T", "1") }, abi.Invalid},
		"no events":                {[]string{"append:*"}, func(c *call) error { return c.errno(c.Effects.Append(c.index, []byte("out"), -1, nil)) }, abi.Invalid},
		"cut event": {[]string{"append:*"}, func(c *call) error {
			b, _ := abi.AppendEvent(nil, &abi.Appended{Type: []byte("T"), Data: []byte("1")})
			return c.errno(c.Effects.Append(c.index, []byte("out"), -1, b[:len(b)-1]))
		}, abi.Invalid},
		"many writes": {[]string{"state"}, func(c *call) error {
			for i := range abi.MaxStateWrites {
				if err := c.errno(c.Effects.Delete(c.index, fmt.Append(nil, i))); err != nil {
					return err
				}
			}
			return c.put("one", "more")
		}, abi.Quota},
		"many messages": {nil, func(c *call) error {
			message := make([]byte, abi.MaxMessageBytes)
			for range abi.MaxEffectBytes / abi.MaxMessageBytes {
				if err := c.errno(c.Effects.Result(c.index, abi.Ack, 0, message)); err != nil {
					return err
				}
			}
			return c.errno(c.Effects.Result(c.index, abi.Ack, 0, message))
		}, abi.Quota},
		"an own id": {[]string{"append:*"}, func(c *call) error {
			b, _ := abi.AppendEvent(nil, &abi.Appended{ID: abi.ID{1}, Type: []byte("T"), Data: []byte("1")})
			return c.errno(c.Effects.Append(c.index, []byte("out"), -1, b))
		}, abi.Invalid},
		"many appends": {[]string{"append:*"}, func(c *call) error {
			for range abi.MaxAppended {
				if err := c.append("out", -1, "T", "1"); err != nil {
					return err
				}
			}
			return c.append("out", -1, "T", "1")
		}, abi.Quota},
		"many bytes": {[]string{"state"}, func(c *call) error {
			for i := range abi.MaxEffectBytes/abi.MaxValueBytes - 1 {
				if err := c.put(fmt.Sprint(i), big); err != nil {
					return fmt.Errorf("put %d: %w", i, err)
				}
			}
			return c.put("one more", big)
		}, abi.Quota},
		"much state": {[]string{"state"}, func(c *call) error {
			if err := c.put("k", big); err != nil {
				return err
			}
			return c.put("k2", big)
		}, abi.Quota},
		"much state, written over": {[]string{"state"}, func(c *call) error {
			for range 3 {
				if err := c.put("k", big); err != nil {
					return err
				}
			}
			return nil
		}, abi.OK},
	} {
		t.Run(name, func(t *testing.T) {
			d := plugins.Deploy{Grants: x.grants}
			if strings.HasPrefix(name, "much") {
				d.Limits = &plugins.Limits{StateBytes: 400 << 10}
			}
			n, err := try(t, d, x.do)
			if x.want == abi.OK && err != nil || x.want != abi.OK && (err == nil || !strings.Contains(err.Error(), x.want.Error())) {
				t.Errorf("%v, want %v", err, x.want)
			}
			if x.want == abi.Denied && len(n.events("other"))+len(n.events("loop-1")) > 0 {
				t.Error("it was appended all the same")
			}
		})
	}
}

// TestRefusalsAreExplained: what was parked for a refusal names the grant, or the limit.
func TestRefusalsAreExplained(t *testing.T) {
	big := strings.Repeat("x", abi.MaxValueBytes)
	for want, x := range map[string]struct {
		kind   plugins.Kind
		grants []string
		do     func(c *call) error
	}{
		"denied (to append to stream orders needs the grant append:orders)":                {do: func(c *call) error { return c.append("orders", -1, "T", "1") }},
		"denied (a projection appends nothing, to stream \"orders\" either)":               {kind: plugins.KindProjection, do: func(c *call) error { return c.append("orders", -1, "T", "1") }},
		"denied (to use state needs the grant state)":                                      {do: func(c *call) error { return c.put("k", "v") }},
		"denied (to read stream orders needs the grant streams.read:orders)":               {do: func(c *call) error { _, e := c.Reads.ReadStream([]byte("orders"), 0, 1); return c.errno(e) }},
		"over quota (the state of the binding has at most 1000 bytes (limits.stateBytes))": {grants: []string{"state"}, do: func(c *call) error { return c.put("k", big) }},
		"too large (a value of the state has at most 262144 bytes)":                        {grants: []string{"state"}, do: func(c *call) error { return c.put("k", big+"x") }},
		"invalid argument (a key of the state has from 1 to 512 bytes of UTF-8)":           {grants: []string{"state"}, do: func(c *call) error { return c.put("", "v") }},
		"invalid argument (stream \"$x\" cannot be written)":                               {do: func(c *call) error { return c.append("$x", -1, "T", "1") }},
		"invalid argument (the data of an event to append is no JSON)":                     {grants: []string{"append:orders"}, do: func(c *call) error { return c.append("orders", -1, "T", "{") }},
	} {
		n := newNode(t, memory.New())
		n.add("p", "1", plugins.Manifest{Kind: x.kind, Subscription: plugins.Input{Stream: "s-0"}}, func(c *call) error {
			if err := x.do(c); err != nil {
				return c.park(strings.TrimPrefix(err.Error(), "plugin failed: "))
			}
			return nil
		})
		n.deploy("p", plugins.Deploy{Version: "1", Grants: x.grants, Limits: &plugins.Limits{StateBytes: 1000}})
		n.append("Tried", 1, 1)
		n.awaitStatus("p", "has parked one", func(s *plugins.Status) bool { return s.Parked == 1 }) // lanes are ahead of that
		parked, err := n.subs.Parked(t.Context(), "p", subscriptions.ParkedRequest{})
		if err != nil || len(parked.Parked) != 1 || parked.Parked[0].Reason != want {
			t.Errorf("got %+v, %v, want %q", parked.Parked, err, want)
		}
	}
}

func TestScanMergesWhatIsStaged(t *testing.T) {
	n := newNode(t, memory.New())
	scanned := make(chan string, 1)
	n.add("p", "1", copierManifest, func(c *call) error {
		if string(c.Type) == "Fill" {
			for i := range 600 {
				if err := c.put(fmt.Sprintf("a%03d", i), fmt.Sprint(i)); err != nil {
					return err
				}
			}
			return nil
		}
		for _, err := range []error{c.put("a0005", "new"), c.put("a001", "over"), c.errno(c.Effects.Delete(c.index, []byte("a002"))), c.put("b", "no")} {
			if err != nil {
				return err
			}
		}
		block, e := c.Reads.Scan([]byte("a"), []byte("a000"), 4, 1<<16)
		some := entries(block) // it is valid until the next call
		all, e2 := c.Reads.Scan([]byte("a"), nil, 1000, 1<<20)
		scanned <- fmt.Sprint(some, len(entries(all)), e == abi.OK && e2 == abi.OK)
		return nil
	})
	n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"state"}, Limits: &plugins.Limits{BatchEvents: 1}})
	n.append("Fill", 1, 1)
	n.append("Scan", 1, 1)
	if got, want := <-scanned, "[a0005=new a001=over a003=3 a004=4] 600 true"; got != want {
		t.Errorf("scanned %s, want %s", got, want)
	}
	s := n.await("p", 2)
	size := int64(0)
	for k, v := range n.state("p", 0) {
		size += int64(len(k) + len(v))
	}
	if s.StateBytes != size {
		t.Errorf("the state has %d bytes, the lane says %d", size, s.StateBytes)
	}
}

func entries(b []byte) (list []string) {
	for len(b) > 0 {
		k, v := int(binary.LittleEndian.Uint32(b)), int(binary.LittleEndian.Uint32(b[4:]))
		list = append(list, string(b[8:8+k])+"="+string(b[8+k:8+k+v]))
		b = b[8+k+v:]
	}
	return list
}

// TestChainsEnd has two bindings that append for each other's events.
func TestChainsEnd(t *testing.T) {
	n := newNode(t, memory.New())
	for from, to := range map[string]string{"ping": "pong", "pong": "ping"} {
		n.add(from, "1", plugins.Manifest{Subscription: plugins.Input{Stream: from}}, func(c *call) error { return c.append(to, -1, "Ball", "1") })
		n.deploy(from, plugins.Deploy{Version: "1", Grants: []string{"append:" + to}})
	}
	first := core.NewEvent{ID: core.NewID(), Type: "Ball", Data: []byte("1"), Metadata: []byte(`{"correlation_id":"game"}`)}
	if _, err := n.store.Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "ping", Expect: core.AnyVersion, Events: []core.NewEvent{first}}}}); err != nil {
		t.Fatal(err)
	}
	s := n.awaitStatus("ping", "has parked one", func(s *plugins.Status) bool { return s.Parked == 1 })
	all := n.events(core.All)
	if len(all) != 17 {
		t.Errorf("%d events: %+v", len(all), s)
	}
	p, err := n.host.Poison(t.Context(), "ping", all[16].Position)
	if err != nil || p.Attempts != 1 || !strings.Contains(p.Reason, "of a chain of plugins") {
		t.Errorf("%+v, %v", p, err)
	}
	for i, e := range all[1:] {
		want := fmt.Sprintf(`{"causation_depth":%d,"causation_id":"%s","correlation_id":"game"}`, i+1, all[i].ID)
		if string(e.Metadata) != want || !e.Time.Equal(first.Time) && !e.Time.Equal(all[0].Time) {
			t.Errorf("event %d: %s at %s, want %s", i+1, e.Metadata, e.Time.Format(time.RFC3339Nano), want)
		}
	}
}
