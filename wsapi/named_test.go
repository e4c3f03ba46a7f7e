package wsapi_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
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
	events  []sent           // that came and were not taken yet
	answers []map[string]any // likewise
	end     map[string]any   // why it is over
}

// listen joins a subscription; fields are more of the subscribe, such as options.
func (n *node) listen(protocol, name, fields string) *listener {
	n.t.Helper()
	l := &listener{peer: n.greeted(protocol), sub: 1, bin: protocol == wire.Bin}
	l.say(fmt.Sprintf(`{"op":"subscribe","id":2,"sub":1,"subscription":%q%s}`, name, fields))
	if ok := l.hear(); ok["op"] != "ok" || ok["id"] != 2.0 || ok["sub"] != 1.0 {
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
			l.events = append(l.events, sent{uint64(e["position"].(float64)), uint64(e["attempt"].(float64))})
		}
	case "status":
		l.state, _ = m["state"].(string)
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
	frames := wire.NewFrames(message, 0)
	for {
		if _, ok := frames.Kind(); !ok {
			return events
		}
		f, err := frames.Events()
		if err != nil || len(f.Attempts) != f.Batch.Count || f.Sub != uint64(l.sub) {
			l.t.Fatalf("%+v: %v", f, err)
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
