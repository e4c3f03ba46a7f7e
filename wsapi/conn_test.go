package wsapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// gated is an engine whose steps wait for the gate to open.
type gated struct {
	core.Engine
	begun chan struct{} // has a value for each step that waits
	open  chan struct{}
	once  sync.Once
}

// release opens the gate.
func (g *gated) release() { g.once.Do(func() { close(g.open) }) }

func (g *gated) Commit(ctx context.Context, group []*core.Commit) core.Step {
	g.begun <- struct{}{}
	<-g.open
	return g.Engine.Commit(ctx, group)
}

func newGated(t *testing.T, limits wsapi.Limits) (*node, *gated) {
	g := &gated{Engine: memory.New(), begun: make(chan struct{}, 100), open: make(chan struct{})}
	n := newNode(t, wsapi.Config{Store: core.NewStore(g, core.StoreConfig{}), Limits: limits})
	t.Cleanup(g.release)
	return n, g
}

// hanging is an engine whose reads last as long as their context.
type hanging struct {
	core.Engine
	begun chan struct{}
}

func (h hanging) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	if r.Stream == core.NoticeStream {
		return h.Engine.Read(ctx, r) // by the Store, for itself
	}
	h.begun <- struct{}{}
	<-ctx.Done()
	return core.Page{}, core.AsError(ctx.Err())
}

// TestWSCloseDoesNotWaitForTheLost: a connection that is lost while the server shuts down
// leaves nothing to wait for, though reads of it were waiting for others.
func TestWSCloseDoesNotWaitForTheLost(t *testing.T) {
	engine := hanging{memory.New(), make(chan struct{}, 10)}
	n := newNode(t, wsapi.Config{Store: core.NewStore(engine, core.StoreConfig{}), Limits: wsapi.Limits{Reads: 1}})
	p := n.greeted()
	for id := range 8 {
		p.say(fmt.Sprintf(`{"op":"read","id":%d,"stream":"s"}`, id+2))
	}
	p.say(`{"op":"ping","n":9}`)
	if m := p.receive(); m["op"] != "pong" {
		t.Fatalf("heard %v", m)
	}
	<-engine.begun
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- n.api.Close(ctx) }()
	if m := p.receive(); m["op"] != "goaway" {
		t.Errorf("heard %v", m)
	}
	_ = p.Close()
	if err := <-closed; err != nil || ctx.Err() != nil {
		t.Errorf("the server closed with %v, %v", err, ctx.Err())
	}
}

// TestWSNamesOtherNodes: where a client may go when this node shuts down.
func TestWSNamesOtherNodes(t *testing.T) {
	others := []any{"10.0.0.2:4973", "10.0.0.3:4973"}
	n := newNode(t, wsapi.Config{Nodes: func() []string { return []string{"10.0.0.2:4973", "10.0.0.3:4973"} }})
	p := n.connect()
	p.say(`{"op":"hello","id":1}`)
	if m := p.receive(); !reflect.DeepEqual(m["nodes"], others) {
		t.Errorf("welcome names %v", m["nodes"])
	}
	closed := make(chan error, 1)
	go func() { closed <- n.api.Close(t.Context()) }()
	if m := p.receive(); m["op"] != "goaway" || !reflect.DeepEqual(m["nodes"], others) {
		t.Errorf("heard %v", m)
	}
	_ = p.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestWSRequestsInFlight(t *testing.T) {
	n, g := newGated(t, wsapi.Limits{Inflight: 2})
	p := n.greeted()
	appendAs := func(id int) {
		p.say(fmt.Sprintf(`{"op":"append","id":%d,"stream":"s","events":[{"type":"A","data":1}]}`, id))
	}
	appendAs(2)
	appendAs(2)
	p.refused("the same id", 2, "duplicate_request")
	appendAs(3)
	appendAs(4)
	p.refused("a third", 4, "too_many_requests")
	p.say(`{"op":"cancel","id":3}`)
	p.refused("canceled", 3, "canceled")
	g.release()
	if m := p.receive(); m["op"] != "ok" || m["id"] != 2.0 {
		t.Errorf("answered %v", m)
	}
}

func TestWSCloseDrains(t *testing.T) {
	n, g := newGated(t, wsapi.Limits{})
	p := n.greeted()
	p.say(`{"op":"append","id":2,"stream":"s","events":[{"type":"A","data":1}]}`)
	p.say(`{"op":"ping","n":9}`)
	if m := p.receive(); m["op"] != "pong" || m["n"] != 9.0 {
		t.Errorf("ping was answered %v", m)
	}
	closed := make(chan error, 1)
	go func() { closed <- n.api.Close(t.Context()) }()
	if m := p.receive(); m["op"] != "goaway" || m["reason"] != "shutdown" || m["reconnectInMs"].(float64) < 1 {
		t.Errorf("heard %v", m)
	}
	p.say(`{"op":"read","id":3,"stream":"s"}`)
	p.refused("while draining", 3, "shutting_down")
	g.release()
	if m := p.receive(); m["op"] != "ok" || m["id"] != 2.0 {
		t.Errorf("answered %v", m)
	}
	p.closed("drained", 4000)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestWSCloseBeforeHello: nothing comes in the place of welcome, so that a client that
// reconnects meanwhile tries again.
func TestWSCloseBeforeHello(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.connect()
	closed := make(chan error, 1)
	go func() { closed <- n.api.Close(t.Context()) }()
	_, text, err := p.ReadMessage()
	if !websocket.IsCloseError(err, 4000) {
		t.Errorf("heard %s, %v, want the close 4000", text, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestWSCloseDoesNotWaitForever(t *testing.T) {
	n, g := newGated(t, wsapi.Limits{})
	p := n.greeted()
	p.say(`{"op":"append","id":2,"stream":"s","events":[{"type":"A","data":1}]}` + "\n" + `{"op":"ping","n":9}`)
	p.receive()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_ = n.api.Close(ctx) // nil or the context's: both have closed
	p.closed("cut", 4000)
	g.release()
}

// handshake opens a WebSocket.
const handshake = "GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func TestWSPings(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{PingEvery: 50 * time.Millisecond, PingTimeout: 500 * time.Millisecond}})
	// One that answers stays.
	p := n.greeted()
	for range 5 {
		_, text, err := p.ReadMessage()
		if err != nil || !strings.Contains(string(text), `"op":"ping"`) {
			t.Fatalf("%s, %v", text, err)
		}
		p.say(strings.Replace(string(text), "ping", "pong", 1))
	}
	// One that does not is gone, though TCP says it lives.
	c := n.raw(handshake)
	hello := `{"op":"hello","id":1}`
	buf := make([]byte, 4096)
	if _, err := c.Read(buf); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, string([]byte{0x81, 0x80 | byte(len(hello)), 0, 0, 0, 0})+hello); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(text), "4002 ping_timeout") {
		t.Errorf("ended with %q, %v", text, err)
	}
}

// TestWSPingsDoNotPutOffTheEnd: a peer that does not answer our close frame is hung
// up on, also if it goes on to send pings.
func TestWSPingsDoNotPutOffTheEnd(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{PingTimeout: 20 * time.Millisecond}}) // counts signs of life every millisecond
	c := n.raw(handshake)
	buf := make([]byte, 4096)
	if _, err := c.Read(buf); err != nil { // the handshake is done
		t.Fatal(err)
	}
	for _, text := range []string{`{"op":"hello","id":1}`, "\xff"} {
		if _, err := io.WriteString(c, string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0})+text); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() {
		text, err := io.ReadAll(c)
		if !bytes.Contains(text, []byte("\x88\x06\x03\xef1007")) {
			t.Errorf("no close frame in %q", text)
		}
		ended <- err
	}()
	ping := time.NewTicker(50 * time.Millisecond)
	defer ping.Stop()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the connection is still there: %v", err)
			}
			return
		case <-ping.C:
			_, _ = c.Write([]byte{0x89, 0x80, 0, 0, 0, 0}) // fails once it is over
		}
	}
}

func TestWSSlowWriterIsCutOff(t *testing.T) {
	t.Parallel()
	// It is what our own answers have, too, also while the machine is busy.
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{IOTimeout: time.Second}})
	slow := n.greeted()
	n.fill("s", 64, 512<<10)
	slow.say(`{"op":"subscribe","id":2,"sub":1,"stream":"s"}`) // and reads no more
	n.fill("other", 64, 10)
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"other","credit":{"events":1000}}`)
	for events := 0; events < 64; {
		if m := p.receive(); m["op"] == "events" {
			events += len(m["events"].([]any))
		}
	}
	for range 1000 {
		if strings.Contains(string(n.do("GET", "/metrics", "").body), `gyre_ws_close_total{code="4001"} 1`) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the slow one was not cut off")
}

// fill appends count events of size bytes.
func (n *node) fill(stream string, count, size int) {
	n.t.Helper()
	data := []byte(`"` + strings.Repeat("x", size) + `"`)
	for range count {
		c := core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "A", Data: data}}}}}
		if _, err := n.store.Append(n.t.Context(), c); err != nil {
			n.t.Fatal(err)
		}
	}
}

func TestWSCreditInEvents(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.fill("s", 10, 10)
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"s","credit":{"events":3},"maxBatch":2}`)
	p.receive()
	expect := func(versions ...int) {
		t.Helper()
		for len(versions) > 0 {
			m := p.receive()
			if m["op"] == "status" {
				continue
			}
			for _, e := range m["events"].([]any) {
				if len(versions) == 0 || e.(map[string]any)["version"] != float64(versions[0]) {
					t.Fatalf("heard %v, want versions %v", m, versions)
				}
				versions = versions[1:]
			}
			if len(m["events"].([]any)) > 2 {
				t.Errorf("more than maxBatch: %v", m)
			}
		}
	}
	silence := func() {
		t.Helper()
		p.say(`{"op":"ping","n":1}`)
		if m := p.receive(); m["op"] != "pong" {
			t.Fatalf("heard %v without credit", m)
		}
	}
	expect(1, 2, 3)
	silence()
	p.say(`{"op":"credit","sub":1,"events":2,"bytes":0}`)
	expect(4, 5)
	silence()
	p.say(`{"op":"credit","sub":1,"events":-5,"bytes":0}`)
	silence()
	p.say(`{"op":"credit","sub":1,"events":100,"bytes":0}`)
	expect(6, 7, 8, 9, 10)
	p.say(`{"op":"unsubscribe","id":9,"sub":1}`)
	for m := p.receive(); m["op"] != "ok"; m = p.receive() {
		if m["op"] != "status" {
			t.Errorf("heard %v", m)
		}
	}
	n.fill("s", 1, 10)
	silence()
}

func TestWSCreditInBytes(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	n.fill("s", 3, 2000)
	for _, protocol := range []string{wire.JSON, wire.Bin} {
		p := n.greeted(protocol)
		p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"s","credit":{"events":10,"bytes":100}}`)
		p.receive()
		// The first passes, though it is larger: nothing may be stuck for good. The
		// second does not, until the debt is paid.
		first, size := p.events()
		if first != 1 {
			t.Fatalf("%s: %d events first", protocol, first)
		}
		p.say(fmt.Sprintf(`{"op":"credit","sub":1,"events":0,"bytes":%d}`, size-100))
		p.say(`{"op":"ping","n":1}`)
		if m := p.receive(); m["op"] != "pong" {
			t.Fatalf("%s: heard %v without credit", protocol, m)
		}
		p.say(`{"op":"credit","sub":1,"events":0,"bytes":1}`)
		if next, _ := p.events(); next != 1 {
			t.Fatalf("%s: %d events next", protocol, next)
		}
	}
}

// events is the next message with events: how many, and what they count for.
func (p *peer) events() (count, size int) {
	p.t.Helper()
	for {
		kind, message, err := p.ReadMessage()
		if err != nil {
			p.t.Fatal(err)
		}
		if kind == websocket.BinaryMessage {
			frames := wire.NewFrames(message, wire.Uncompressed, 0)
			e, err := frames.Events()
			if err != nil {
				p.t.Fatal(err)
			}
			return e.Batch.Count, len(e.Batch.Block)
		}
		m, err := wire.DecodeServer(message)
		if err != nil {
			p.t.Fatal(err)
		}
		if e, ok := m.(*wire.Events); ok {
			return len(e.Events), len(message)
		}
	}
}

func TestWSStalledFollowDisturbsNobody(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.greeted()
	p.say(`{"op":"subscribe","id":2,"sub":1,"stream":"$all","credit":{"events":0}}` + "\n" +
		`{"op":"subscribe","id":3,"sub":2,"stream":"$all","credit":{"events":100000}}`)
	n.fill("s", 200, 1000)
	for seen := 0; seen < 200; {
		m := p.receive()
		if m["op"] != "events" {
			continue
		}
		if m["sub"] != 2.0 {
			t.Fatalf("sub %v had no credit", m["sub"])
		}
		seen += len(m["events"].([]any))
	}
	p.say(`{"op":"credit","sub":1,"events":1,"bytes":0}`)
	for {
		m := p.receive()
		if m["op"] != "events" {
			continue
		}
		if e := m["events"].([]any); m["sub"] != 1.0 || len(e) != 1 || e[0].(map[string]any)["position"] != 1.0 {
			t.Errorf("heard %v", m)
		}
		return
	}
}

func TestWSManyMessagesInOne(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.greeted()
	const count = 20_000 // their answers are much more than the out-queue takes
	p.say(strings.Repeat("{}\n", count))
	for range count {
		p.refused("{}", 0, "invalid_request")
	}
	p.say(`{"op":"ping","n":1}`)
	if m := p.receive(); m["op"] != "pong" {
		t.Errorf("heard %v", m)
	}
}

func TestWSBatchesText(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.connect()
	p.say(`{"op":"hello","id":1,"accept":{"batch":true}}`)
	if w := p.receive(); w["batch"] != true {
		t.Fatalf("welcome %v", w)
	}
	var messages []string
	for i := range 100 {
		messages = append(messages, fmt.Sprintf(`{"op":"append","id":%d,"stream":"s","expect":%d,"events":[{"type":"A","data":1}]}`, i+2, i))
	}
	p.say(strings.Join(messages, "\n"))
	for answers := 0; answers < 100; {
		_, text, err := p.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			// Pipelined appends of one stream keep their order: each expectation held.
			if !strings.HasPrefix(line, `{"op":"ok",`) {
				t.Fatalf("answered %s", line)
			}
			answers++
		}
	}
	n.headIs(100)
}
