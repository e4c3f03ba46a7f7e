package wsapi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// feed appends events to s-0 … s-(streams-1) in turn.
func (n *node) feed(events, streams int) {
	n.t.Helper()
	var c core.Commit
	for i := range events {
		c.Appends = append(c.Appends, core.Append{
			Stream: fmt.Sprintf("s-%d", i%streams), Expect: core.AnyVersion,
			Events: []core.NewEvent{{Type: "T", Data: fmt.Appendf(nil, `{"n":%d}`, i)}},
		})
	}
	if _, err := n.store.Append(n.t.Context(), c); err != nil {
		n.t.Fatal(err)
	}
}

// listener is a peer that is a subscriber.
type listener struct {
	*peer
	sub     int
	bin     bool
	state   string           // of the last status
	cursor  string           // likewise
	events  []sent           // that came and were not taken yet
	replays int              // of all that came
	answers []map[string]any // likewise
	end     map[string]any   // why it is over
}

// listen joins a subscription, as it is or a new one; fields are more of the subscribe,
// such as options.
func (n *node) listen(protocol, name, fields string) *listener {
	n.t.Helper()
	l := &listener{peer: n.greeted(protocol), sub: 1, bin: protocol == wire.Bin}
	if !strings.Contains(fields, `"options"`) {
		fields += `,"options":{},"anyOptions":true`
	}
	l.say(fmt.Sprintf(`{"op":"subscribe","id":2,"sub":1,"subscription":%q%s}`, name, fields))
	if ok := l.receive(); ok["op"] != "ok" || ok["id"] != 2.0 || ok["sub"] != 1.0 {
		n.t.Fatalf("subscribe was answered %v", ok)
	}
	return l
}

// sent is an event that came.
type sent struct {
	position, attempt uint64
}

// take waits for so many events.
func (l *listener) take(count int) (events []sent) {
	l.t.Helper()
	for len(l.events) < count {
		l.listen()
	}
	events, l.events = l.events[:count], l.events[count:]
	return events
}

// listen takes one message in.
func (l *listener) listen() {
	l.t.Helper()
	kind, message, err := l.ReadMessage()
	if err != nil {
		l.t.Fatalf("with %d events, %v and %s: %v", len(l.events), l.answers, l.state, err)
	}
	if kind == websocket.BinaryMessage {
		l.events = append(l.events, l.frames(message)...)
		return
	}
	var m map[string]any
	if err := json.Unmarshal(message, &m); err != nil {
		l.t.Fatal(err)
	}
	switch m["op"] {
	case "events":
		for _, e := range m["events"].([]any) {
			e := e.(map[string]any)
			if e["replay"] == true {
				l.replays++
			}
			l.events = append(l.events, sent{uint64(e["position"].(float64)), uint64(e["attempt"].(float64))})
		}
	case "status":
		l.state, _ = m["state"].(string)
		l.cursor, _ = m["cursor"].(string)
	case "ok", "error":
		l.answers = append(l.answers, m)
	case "end":
		l.end = m
	case "ping":
	default:
		l.t.Fatalf("heard %s", message)
	}
}

func (l *listener) frames(message []byte) (events []sent) {
	l.t.Helper()
	frames := wire.NewFrames(message, wire.Uncompressed, 0)
	for {
		if _, ok := frames.Kind(); !ok {
			return events
		}
		f, err := frames.Events()
		if err != nil || len(f.Attempts) != f.Batch.Count || f.Sub != uint64(l.sub) {
			l.t.Fatalf("%+v: %v", f, err)
		}
		if f.Replay {
			l.replays += f.Batch.Count
		}
		i := 0
		for e := range f.Batch.Events() {
			events = append(events, sent{e.Position, f.Attempts[i]})
			i++
		}
	}
}

// ask sends a message and waits for its answer.
func (l *listener) ask(text string) map[string]any {
	l.t.Helper()
	l.say(text)
	for len(l.answers) == 0 {
		l.listen()
	}
	m := l.answers[0]
	l.answers = l.answers[1:]
	return m
}

func (l *listener) ok(text string) {
	l.t.Helper()
	if m := l.ask(text); m["op"] != "ok" {
		l.t.Fatalf("%s: answered %v", text, m)
	}
}

// until waits for a status.
func (l *listener) until(state string) {
	l.t.Helper()
	for l.state != state {
		l.listen()
	}
}

// ends waits for the end of the subscription.
func (l *listener) ends(code string, retryable bool) {
	l.t.Helper()
	for l.end == nil {
		l.listen()
	}
	if e, _ := l.end["error"].(map[string]any); e["code"] != code || l.end["retryable"] != retryable {
		l.t.Fatalf("ended with %v, want %s", l.end, code)
	}
}

func first(positions ...uint64) (events []sent) {
	for _, p := range positions {
		events = append(events, sent{p, 1})
	}
	return events
}

func (l *listener) wants(events ...sent) {
	l.t.Helper()
	if got := l.take(len(events)); !slices.Equal(got, events) {
		l.t.Fatalf("got %v, want %v", got, events)
	}
}

// ack acks positions, by a frame on binary connections.
func (l *listener) ack(positions ...uint64) {
	l.t.Helper()
	a := wire.Ack{Sub: uint64(l.sub), Positions: positions}
	if l.bin {
		l.send(wire.AppendAck(nil, &a))
		return
	}
	l.say(string(wire.Encode(nil, &a)))
}

func overProtocols(t *testing.T, test func(t *testing.T, protocol string)) {
	for _, protocol := range []string{wire.JSON, wire.Bin} {
		t.Run(protocol, func(t *testing.T) { test(t, protocol) })
	}
}

// G01, G02, H02, H04, I01: in order, as there is credit and buffer, then live.
func TestNamedDelivers(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(5, 2)
		l := n.listen(protocol, "billing", `,"consumer":"w1","options":{"bufferSize":2},"credit":{"events":4}`)
		l.wants(first(1, 2)...)
		l.ack(1, 2)
		l.wants(first(3, 4)...)
		l.ack(4)
		l.ok(`{"op":"ack","id":3,"sub":1,"positions":[3]}`)
		if l.bin {
			credit := []byte{wire.FrameCredit, 0}
			for _, v := range []uint64{1, 10, 0} {
				credit = binary.AppendUvarint(credit, v)
			}
			l.send(credit)
		} else {
			l.say(`{"op":"credit","sub":1,"events":10}`)
		}
		l.wants(first(5)...)
		l.until("live")
		n.feed(2, 1)
		l.ok(`{"op":"ack","id":4,"sub":1,"upTo":5}`)
		l.wants(first(6, 7)...)
	})
}

// until waits for a subscription to be so, which is for another goroutine to do, and it
// tells nobody.
func (n *node) until(name, what string, is func(*subscriptions.Info) bool) {
	n.t.Helper()
	var info subscriptions.Info
	for range 1000 {
		var err error
		if info, err = n.subs.Info(n.t.Context(), name); err != nil {
			n.t.Fatal(err)
		}
		if is(&info) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.t.Fatalf("no %s: %+v", what, info)
}

func (n *node) checkpoint(name string, want uint64) {
	n.t.Helper()
	n.until(name, fmt.Sprintf("checkpoint %d", want), func(i *subscriptions.Info) bool { return i.Checkpoint == want })
}

// dies closes a connection, and waits until the server has noticed.
func (n *node) dies(l *listener, name string, left int) {
	n.t.Helper()
	l.Close()
	n.until(name, "end of a subscriber", func(i *subscriptions.Info) bool { return len(i.Subscribers) == left })
}

// J05: out-of-order acks over three subscribers; the checkpoint is the highest with
// everything at or below it acked.
func TestNamedAcksOutOfOrder(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		const options = `,"options":{"concurrencyLimit":3,"bufferSize":2}`
		ls := []*listener{n.listen(protocol, "s", options), n.listen(protocol, "s", ""), n.listen(protocol, "s", "")}
		n.feed(6, 1)
		owner := map[uint64]*listener{}
		for _, l := range ls {
			for _, e := range l.take(2) { // J11: two each
				owner[e.position] = l
			}
		}
		for _, step := range [][2]uint64{{1, 1}, {2, 2}, {3, 3}, {6, 3}, {5, 3}, {4, 6}} {
			owner[step[0]].ok(fmt.Sprintf(`{"op":"ack","id":9,"sub":1,"positions":[%d]}`, step[0]))
			n.checkpoint("s", step[1])
		}
	})
}

// Acks that come in one message are applied together where that says the same, and
// each has the answer that it has alone.
func TestNamedAcksTogether(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(9, 1)
	l := n.listen(wire.Bin, "s", `,"options":{"bufferSize":9}`)
	l.wants(first(1, 2, 3, 4, 5, 6, 7, 8, 9)...)
	l.until("live") // nothing comes by itself any more
	var message []byte
	for _, a := range []wire.Ack{
		{Sub: 1, Positions: []uint64{1, 2}}, {Sub: 1, Positions: []uint64{3}},
		{Sub: 2, Positions: []uint64{4}},
		{Sub: 1}, {Sub: 1, Positions: []uint64{4}},
		{Sub: 1, ID: 7, Positions: []uint64{5}}, {Sub: 1, Positions: []uint64{6, 60}}, {Sub: 1, UpTo: 8},
	} {
		message = wire.AppendAck(message, &a)
	}
	l.send(message)
	for _, want := range []string{"lease_lost", "invalid_request", "ok", "unexpected_ack"} {
		m := l.receive()
		got, _ := m["op"].(string)
		if e, is := m["error"].(map[string]any); is {
			got, _ = e["code"].(string)
		}
		if got != want {
			t.Errorf("answered %v, want %s", m, want)
		}
	}
	n.checkpoint("s", 8)
}

// J06, J09: what a subscriber had that dies goes to another at once, before newer ones,
// and the checkpoint does not pass it.
func TestNamedSubscriberDies(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		a := n.listen(protocol, "s", `,"options":{"concurrencyLimit":2,"bufferSize":3}`)
		n.feed(6, 1)
		a.wants(first(1, 2, 3)...)
		b := n.listen(protocol, "s", "")
		b.wants(first(4, 5, 6)...)
		n.feed(2, 1)
		n.dies(a, "s", 1)
		b.ack(4, 5, 6)
		b.wants(sent{1, 2}, sent{2, 2}, sent{3, 2})
		n.checkpoint("s", 0)
		b.ack(1, 2, 3)
		b.wants(first(7, 8)...)
		n.checkpoint("s", 6)
	})
}

// J01, J02, G05: no more subscribers than there may be, whatever they say.
func TestNamedLimits(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.listen(wire.JSON, "one", "")
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"subscription":"one","options":{}}`)
	p.refused("a second", 2, "subscription_in_use")
	n.listen(wire.JSON, "two", `,"options":{"concurrencyLimit":2}`)
	n.listen(wire.JSON, "two", "")
	p.say(`{"op":"subscribe","id":3,"sub":1,"subscription":"two"}`)
	p.refused("a third", 3, "too_many_subscribers")
	p.say(`{"op":"subscribe","id":4,"sub":1,"subscription":"two","options":{"concurrencyLimit":3}}`)
	p.refused("with other options", 4, "subscription_options_differ")
}

// I06, I07: an ack of what is not in flight here is refused, and changes nothing.
func TestNamedWrongAcks(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(6, 1)
		a := n.listen(protocol, "s", `,"options":{"concurrencyLimit":2,"bufferSize":3}`)
		a.wants(first(1, 2, 3)...)
		b := n.listen(protocol, "s", "")
		b.wants(first(4, 5, 6)...)
		for text, want := range map[string]string{
			`{"op":"ack","id":3,"sub":1,"positions":[99]}`:                               "unexpected_ack",
			`{"op":"ack","id":3,"sub":1,"positions":[4]}`:                                "unexpected_ack",
			`{"op":"ack","id":3,"sub":1,"upTo":6}`:                                       "unexpected_ack",
			`{"op":"nack","id":3,"sub":1,"positions":[4],"action":"park"}`:               "unexpected_ack",
			`{"op":"extend","id":3,"sub":1,"positions":[4],"ms":5}`:                      "unexpected_ack",
			`{"op":"ack","id":3,"sub":1}`:                                                "invalid_request",
			`{"op":"ack","id":3,"sub":1,"positions":[1],"upTo":1}`:                       "invalid_request",
			`{"op":"nack","id":3,"sub":1,"positions":[1],"action":"explode"}`:            "invalid_request",
			`{"op":"nack","id":3,"sub":1,"positions":[],"action":"park"}`:                "invalid_request",
			`{"op":"nack","id":3,"sub":1,"positions":[1],"action":"retry","delayMs":-1}`: "invalid_request",
			`{"op":"extend","id":3,"sub":1,"positions":[1],"ms":0}`:                      "invalid_request",
			`{"op":"extend","id":3,"sub":1,"positions":[1],"ms":9000000000000000}`:       "invalid_request",
			`{"op":"ack","id":3,"sub":2,"positions":[1]}`:                                "lease_lost",
		} {
			m := a.ask(text)
			if e, _ := m["error"].(map[string]any); m["op"] != "error" || e["code"] != want {
				t.Errorf("%s: answered %v, want %s", text, m, want)
			}
		}
		// Of several, those that are in flight are taken, and the others named.
		m := a.ask(`{"op":"ack","id":4,"sub":1,"positions":[1,4,2]}`)
		if e, _ := m["error"].(map[string]any); e["code"] != "unexpected_ack" || fmt.Sprint(e["positions"]) != "[4]" {
			t.Errorf("answered %v", m)
		}
		m = a.ask(`{"op":"ack","id":5,"sub":1,"positions":[1]}`)
		if e, _ := m["error"].(map[string]any); e["code"] != "unexpected_ack" {
			t.Errorf("a double ack: %v", m)
		}
		n.checkpoint("s", 2)
		a.ok(`{"op":"unsubscribe","id":6,"sub":1}`)
		if m := a.ask(`{"op":"ack","id":7,"sub":1,"positions":[3]}`); m["error"].(map[string]any)["code"] != "lease_lost" {
			t.Errorf("after unsubscribe: %v", m)
		}
	})
}

// Nacks: again, after a time; set aside; passed over; and an ack that takes too long.
func TestNamedNacks(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		t.Parallel()
		n := newNode(t, wsapi.Config{})
		n.feed(5, 1)
		l := n.listen(protocol, "s", `,"consumer":"w","options":{"ackTimeoutMs":2000,"retry":{"minMs":0}}`)
		l.wants(first(1, 2, 3, 4, 5)...)
		l.ok(`{"op":"extend","id":3,"sub":1,"positions":[5],"ms":60000}`)
		l.ok(`{"op":"nack","id":4,"sub":1,"positions":[1],"action":"retry","delayMs":0}`)
		l.wants(sent{1, 2})
		l.ok(`{"op":"nack","id":5,"sub":1,"positions":[2],"action":"park","reason":"no"}`)
		l.ok(`{"op":"nack","id":6,"sub":1,"positions":[3],"action":"skip"}`)
		l.ack(1)
		l.wants(sent{4, 2}) // its time is over
		l.ack(4, 5)
		n.checkpoint("s", 5)
		got := n.do("GET", "/v1/subscriptions/s/parked", "")
		if got.StatusCode != 200 || !bytes.Contains(got.body, []byte(`"position":2,`)) || !bytes.Contains(got.body, []byte(`"consumer":"w","cause":"nack","reason":"no"`)) {
			t.Errorf("parked: %d %s", got.StatusCode, got.body)
		}
		l.ok(`{"op":"unsubscribe","id":7,"sub":1}`)
	})
}

// K01, J10: what does not match is passed over; an event that the expression fails on
// is parked with the reason; the data is mapped and the rest of the event is as it was.
func TestNamedFilterAndMap(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(10, 2)
		n.fill("other", 1, 1) // its data is a text
		l := n.listen(protocol, "s", `,"options":{"filter":{"expr":"data.n % 4 == 1"},"map":"{\"x\": data.n * 10}"}`)
		l.wants(first(2, 6, 10)...)
		l.ack(2, 6, 10)
		n.checkpoint("s", 11)
		n.feed(2, 2)
		l.wants(first(13)...)
		got := n.do("GET", "/v1/subscriptions/s/parked", "")
		if !bytes.Contains(got.body, []byte(`"position":11,`)) || !bytes.Contains(got.body, []byte(`"cause":"fault","reason":"filter.expr: `)) {
			t.Errorf("parked: %s", got.body)
		}
		fetched := n.do("POST", "/v1/subscriptions/fields/fetch", `{"max":1,"waitMs":5000,"options":{"map":["n","no"]}}`, "Content-Type: application/json")
		if !bytes.Contains(fetched.body, []byte(`"data":{"n":0},"metadata":{},"attempt":1}]`)) {
			t.Errorf("fetched: %d %s", fetched.StatusCode, fetched.body)
		}
	})
}

// J12, J16, J17: a key is with one subscriber while any of its events is in flight, and its
// order holds when that one dies. One that has several workers gets one of a key at a time.
func TestNamedPartitions(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(8, 4) // positions p and p+4 are of one stream
		a := n.listen(protocol, "s", `,"options":{"concurrencyLimit":2,"bufferSize":2,"partitionBy":"stream"}`)
		a.wants(first(1, 2)...)
		b := n.listen(protocol, "s", "")
		b.wants(first(3, 4)...)
		a.ack(2)
		a.wants(first(5)...)
		n.dies(a, "s", 1)
		b.ack(3)
		b.wants(sent{1, 2}) // before 7
		b.ack(4)
		b.wants(sent{5, 2})
		n.dies(b, "s", 0)
		c := n.listen(protocol, "s", `,"workers":2`)
		c.wants(first(6, 7)...) // 1 backs off, it has failed twice
		c.ack(6, 7)
		c.wants(first(8)...)
		c.wants(sent{1, 3})
		c.ack(8) // 5 waits, whose key has 1 in flight
		c.ack(1)
		c.wants(sent{5, 3})
	})
}

// G08, G09, G17: subscriptions and follows of one connection do not know of each other.
func TestNamedBesideFollows(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(3, 1)
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"subscription":"a","options":{}}`)
	p.say(`{"op":"subscribe","id":3,"sub":2,"subscription":"b","options":{}}`)
	p.say(`{"op":"subscribe","id":4,"sub":3,"stream":"$all"}`)
	events, oks := map[float64]int{}, 0
	for events[1] < 3 || events[2] < 3 || events[3] < 3 {
		m := p.receive()
		if m["op"] == "ok" {
			oks++
		}
		if list, ok := m["events"].([]any); ok {
			events[m["sub"].(float64)] += len(list)
			if _, has := list[0].(map[string]any)["attempt"]; has != (m["sub"] != 3.0) {
				t.Errorf("attempts: %v", m)
			}
		}
	}
	if oks != 3 {
		t.Errorf("%d oks", oks)
	}
}

// G12, G13, D-group: leaving keeps the checkpoint; pausing, resuming, resetting and
// deleting are told to who listens.
func TestNamedIsManaged(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(4, 1)
		l := n.listen(protocol, "a/b", `,"options":{"bufferSize":2}`)
		l.wants(first(1, 2)...)
		post := func(path, body string, status int) answer {
			t.Helper()
			a := n.do("POST", "/v1/subscriptions/a%2Fb"+path, body, "Content-Type: application/json")
			if a.StatusCode != status {
				t.Fatalf("%s: %d %s", path, a.StatusCode, a.body)
			}
			return a
		}
		if a := post("/pause", "", 200); !bytes.Contains(a.body, []byte(`"state":"paused"`)) || !bytes.Contains(a.body, []byte(`"inFlight":2`)) {
			t.Errorf("%s", a.body)
		}
		l.until("paused")
		l.ok(`{"op":"ack","id":3,"sub":1,"upTo":2}`)
		post("/resume", "", 200)
		l.wants(first(3, 4)...)
		l.until("live")
		post("/reset", `{"to":{"position":2}}`, 200)
		l.ends("subscription_interrupted", true)
		l = n.listen(protocol, "a/b", "")
		l.wants(first(2, 3)...)
		post("/reset", `{"to":"middle"}`, 400)
		post("/reset", `{}`, 400)
		post("/reset", `{"to":{"position":99}}`, 400)
		if a := n.do("DELETE", "/v1/subscriptions/a%2Fb", ""); a.StatusCode != 204 {
			t.Errorf("delete: %d %s", a.StatusCode, a.body)
		}
		l.ends("subscription_not_found", false)
		post("/pause", "", 404)
		l = n.listen(protocol, "a/b", "")
		l.wants(first(1, 2, 3, 4)...)
	})
}

// answers checks the answer to a GET, or a POST with a body.
func (n *node) answers(path, body string, status int, says string) {
	n.t.Helper()
	method := "GET"
	if body != "" {
		method = "POST"
	}
	if got := n.do(method, path, body, asJSON); got.StatusCode != status || !strings.Contains(string(got.body), says) {
		n.t.Errorf("%s %s: %d %s, want %d with %s", method, path, got.StatusCode, got.body, status, says)
	}
}

// G17 over the wire: nothing is stored, its end is the end of its last connection, and it
// is neither the stored one of its name nor shown among those.
func TestNamedTransient(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(4, 2)
		stored := n.listen(protocol, "cache", "")
		stored.wants(first(1, 2, 3, 4)...)
		stored.ack(1)
		n.checkpoint("cache", 1)
		for range 2 {
			l := n.listen(protocol, "cache", `,"transient":true,"options":{"from":{"position":2},"filter":{"streams":["s-*"]}}`)
			l.wants(first(2, 3, 4)...)
			l.until("live")
			l.ok(`{"op":"ack","id":3,"sub":1,"upTo":4}`)
			n.answers("/v1/subscriptions?transient=true", "", 200, `"name":"cache","transient":true,`)
			if got := n.do("GET", "/v1/subscriptions", ""); strings.Contains(string(got.body), "transient") {
				t.Errorf("among the stored ones: %s", got.body)
			}
			l.ok(`{"op":"unsubscribe","id":4,"sub":1}`)
			n.answers("/v1/subscriptions?transient=true", "", 200, `{"subscriptions":[],"end":true}`)
		}
		n.checkpoint("cache", 1)
		// From where to go on is told with what goes beyond it.
		l := n.listen(protocol, "cache", `,"transient":true,"options":{"bufferSize":2}`)
		l.wants(first(1, 2)...)
		l.ack(1)
		l.wants(first(3)...)
		l.until("checkpoint")
		if l.cursor != n.store.State().Log+".1" {
			t.Errorf("the checkpoint is %s", l.cursor)
		}
		n.answers("/v1/subscriptions?transient=yes", "", 400, `transient is \"true\"`)
		n.answers("/v1/subscriptions/cache/fetch", `{"transient":true}`, 400, "a transient subscription ends with its connection")
	})
}

// Who joins a transient subscription whose events wait for somebody gets all of them.
func TestNamedTransientJoinedLater(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(4, 2)
		two := `,"transient":true,"options":{"concurrencyLimit":2,"bufferSize":2}`
		n.listen(protocol, "cache", two).wants(first(1, 2)...)
		n.listen(protocol, "cache", two).wants(first(3, 4)...)
	})
}

// What a nack with an id has parked is there when it is answered, and what a durable ack
// has finished is stored.
func TestNamedAnswersWhenStored(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(4, 1)
		l := n.listen(protocol, "s", `,"options":{"checkpointThreshold":100}`)
		l.wants(first(1, 2, 3, 4)...)
		l.ok(`{"op":"nack","id":3,"sub":1,"positions":[2],"action":"park","reason":"no"}`)
		n.answers("/v1/subscriptions/s/parked", "", 200, `"parked":[{"position":2,`)
		n.answers("/v1/subscriptions/s/parked/replay", `{"all":true}`, 200, `{"count":1}`)
		l.wants(sent{2, 2})
		if l.replays != 1 {
			t.Errorf("%d replays came", l.replays)
		}
		a := wire.Ack{ID: 4, Sub: 1, UpTo: 3, Durable: true}
		if protocol == wire.Bin {
			l.send(wire.AppendAck(nil, &a))
		} else {
			l.say(string(wire.Encode(nil, &a)))
		}
		for len(l.answers) == 0 {
			l.listen()
		}
		l.answers = nil
		n.answers("/v1/subscriptions/s", "", 200, `"checkpoint":3,`)
		n.answers("/v1/subscriptions/s/parked", "", 200, `{"position":2,`)
		l.ok(`{"op":"ack","id":5,"sub":1,"positions":[2],"durable":true}`)
		n.answers("/v1/subscriptions/s/parked", "", 200, `"parked":[]`)
	})
}

// A subscriber may have a smaller buffer than the subscription's, and is told of fields
// that the server does not know.
func TestNamedBuffer(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		n.feed(5, 1)
		p := n.greeted(protocol)
		p.say(`{"op":"subscribe","id":2,"sub":1,"subscription":"s","options":{"concurrencyLimit":2},"bufferSize":2,"bufferSise":{"a":[1]},"` + strings.Repeat("é", 40) + `":1}`)
		ok := p.receive()
		if got, want := fmt.Sprint(ok["warnings"]), "[/bufferSise is not a field that is known; it was ignored]"; got != want {
			t.Errorf("warnings are %s, want %s", got, want)
		}
		l := &listener{peer: p, sub: 1, bin: protocol == wire.Bin}
		l.wants(first(1, 2)...)
		n.listen(protocol, "s", "").wants(first(3, 4, 5)...)
		p.say(`{"op":"subscribe","id":3,"sub":2,"subscription":"s","bufferSize":-1}`)
		for len(l.answers) == 0 {
			l.listen()
		}
		if e, _ := l.answers[0]["error"].(map[string]any); e["code"] != "invalid_request" {
			t.Errorf("answered %v", l.answers)
		}
	})
}

// The same over HTTP.
func TestFetchedAnswersWhenStored(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.feed(4, 1)
	f := n.fetch("s", `{"options":{"checkpointThreshold":100}}`)
	n.answers("/v1/subscriptions/s/nack", fmt.Sprintf(`{"lease":%d,"positions":[2],"action":"park"}`, f.Lease), 204, "")
	n.answers("/v1/subscriptions/s/parked", "", 200, `"parked":[{"position":2,`)
	n.answers("/v1/subscriptions/s/parked/replay", `{"all":true}`, 200, `{"count":1}`)
	n.answers("/v1/subscriptions/s/ack", fmt.Sprintf(`{"lease":%d,"upTo":3,"durable":true}`, f.Lease), 204, "")
	n.answers("/v1/subscriptions/s", "", 200, `"checkpoint":3,`)
}

// A client that comes back names the incarnation that it joined: what was deleted
// meanwhile is not created again.
func TestComingBackNeverCreates(t *testing.T) {
	overProtocols(t, func(t *testing.T, protocol string) {
		n := newNode(t, wsapi.Config{})
		p := n.greeted(protocol)
		p.say(`{"op":"subscribe","id":2,"sub":1,"subscription":"w"}`)
		p.refused("subscribe", 2, "subscription_not_found")
		p.say(`{"op":"subscribe","id":3,"sub":1,"subscription":"w","anyOptions":true}`)
		p.refused("subscribe", 3, "invalid_request")
		p.say(`{"op":"subscribe","id":4,"sub":1,"subscription":"w","options":{"stream":"mine"}}`)
		incarnation, _ := p.receive()["incarnation"].(string)
		if incarnation == "" {
			t.Fatal("no incarnation")
		}
		p.say(`{"op":"unsubscribe","id":5,"sub":1}`) // the answer says that its place is free
		for p.receive()["op"] != "ok" {
		}
		_ = p.Close()
		n.answers("/v1/subscriptions/w/fetch", fmt.Sprintf(`{"incarnation":%q}`, incarnation), 200, incarnation)
		n.answers("/v1/subscriptions/w/fetch", `{"options":{},"anyOptions":true}`, 200, incarnation)
		n.do("DELETE", "/v1/subscriptions/w", "")
		p = n.greeted(protocol)
		again := fmt.Sprintf(`{"op":"subscribe","id":2,"sub":1,"subscription":"w","incarnation":%q}`, incarnation)
		p.say(again)
		p.refused("subscribe", 2, "subscription_not_found")
		n.answers("/v1/subscriptions/w/fetch", fmt.Sprintf(`{"incarnation":%q}`, incarnation), 404, "subscription_not_found")
		n.answers("/v1/subscriptions/w/fetch", `{}`, 404, "subscription_not_found")
		n.answers("/v1/subscriptions/w/fetch", `{"options":{}}`, 200, `"incarnation":`)
		p.say(again)
		p.refused("subscribe", 2, "subscription_not_found")
	})
}

// lateJoiner joins when nobody waits for it any more.
type lateJoiner struct {
	*subscriptions.Owner
	begun chan struct{}
}

func (l *lateJoiner) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	close(l.begun)
	<-ctx.Done()
	return l.Owner.Join(context.WithoutCancel(ctx), r)
}

// TestWSJoinIsLate: a consumer whose connection is gone before it has joined leaves again,
// and is not counted.
func TestWSJoinIsLate(t *testing.T) {
	late := &lateJoiner{begun: make(chan struct{})}
	n := newNode(t, wsapi.Config{Subscriptions: late})
	n.do("PUT", "/v1/subscriptions/s", "{}").want(t, 201)
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"subscription":"s"}`)
	<-late.begun
	_ = p.Close()
	n.untilMetric("gyre_ws_connections", 0)
	n.untilMetric("gyre_ws_follows", 0)
	n.until("s", "subscriber that left", func(i *subscriptions.Info) bool { return len(i.Subscribers) == 0 })
}
