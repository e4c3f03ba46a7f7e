package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// flood is connections that send appends whatever is answered.
type flood struct {
	clients []*floodClient
	events  []core.NewEvent // of each append
}

// floodClient is one of them. One goroutine sends, another reads.
type floodClient struct {
	conn   *websocket.Conn
	stream string
	idle   chan struct{} // has a value when everything is answered

	mu   sync.Mutex // protects the fields below
	last uint64     // id of a request
	sent map[uint64]time.Time
	got  floodCount
}

// floodCount is what became of appends.
type floodCount struct {
	sent, admitted, refused int
	took                    []time.Duration // of those that were admitted
	errs                    []error         // other answers
}

// at returns what a part of the admitted appends took at most.
func (c *floodCount) at(part float64) time.Duration {
	if len(c.took) == 0 {
		return 0
	}
	slices.Sort(c.took)
	return c.took[min(len(c.took)-1, int(part*float64(len(c.took))))]
}

// check returns what is wrong: an append that was not answered, or not as it should.
func (c *floodCount) check() error {
	if c.sent != c.admitted+c.refused || len(c.errs) > 0 {
		return fmt.Errorf("of %d appends %d are admitted and %d refused: %w", c.sent, c.admitted, c.refused, errors.Join(c.errs...))
	}
	return nil
}

// newFlood dials connections, whose appends have so many events.
func newFlood(t *testing.T, url string, connections, events int) *flood {
	t.Helper()
	f := &flood{}
	for range events {
		f.events = append(f.events, core.NewEvent{Type: "Flooded", Data: []byte(`{"total":10}`)})
	}
	t.Cleanup(func() {
		for _, c := range f.clients {
			_ = c.conn.Close()
		}
	})
	dialer := websocket.Dialer{Subprotocols: []string{wire.Bin}}
	for i := range connections {
		conn, _, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/v1/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &floodClient{conn: conn, stream: fmt.Sprintf("flood-%d", i), last: 1, idle: make(chan struct{}, 1), sent: map[uint64]time.Time{}}
		f.clients = append(f.clients, c)
		if err := conn.WriteMessage(websocket.TextMessage, wire.Encode(nil, &wire.Hello{ID: 1, Accept: &wire.Accept{Batch: true}})); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Fatal(err)
		}
		go c.read()
	}
	return f
}

// send sends n appends in one message.
func (f *flood) send(c *floodClient, n int) error {
	var message []byte
	c.mu.Lock()
	now := time.Now()
	for range n {
		c.last++
		c.sent[c.last] = now
		message = wire.AppendCommit(message, &wire.CommitFrame{ID: c.last, Commit: core.Commit{Appends: []core.Append{
			{Stream: c.stream, Expect: core.AnyVersion, Events: f.events},
		}}})
	}
	c.got.sent += n
	c.mu.Unlock()
	return c.conn.WriteMessage(websocket.BinaryMessage, message)
}

// read takes answers until the connection ends.
func (c *floodClient) read() {
	for {
		kind, message, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		c.mu.Lock()
		if kind == websocket.BinaryMessage {
			err = c.results(message, time.Now())
		} else {
			err = c.refusals(message)
		}
		if err != nil {
			c.got.errs = append(c.got.errs, err)
		}
		if len(c.sent) == 0 {
			select {
			case c.idle <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
	}
}

// results takes answers in binary. c.mu is held.
func (c *floodClient) results(message []byte, now time.Time) error {
	frames := wire.NewFrames(message, wire.Uncompressed, 0)
	for {
		kind, ok := frames.Kind()
		if !ok {
			return nil
		}
		var ids []uint64
		if kind == wire.FrameCommitted {
			id, _, err := frames.Committed()
			if err != nil {
				return err
			}
			ids = append(ids, id)
		} else {
			results, err := frames.Results(nil, len(c.sent))
			if err != nil {
				return err
			}
			for _, r := range results {
				ids = append(ids, r.ID)
			}
		}
		for _, id := range ids {
			c.got.admitted++
			c.got.took = append(c.got.took, now.Sub(c.sent[id]))
			delete(c.sent, id)
		}
	}
}

// refusals takes texts, which are answers to appends that are refused. To decode them would cost
// more than the node takes to send them. c.mu is held.
func (c *floodClient) refusals(message []byte) error {
	for text := range bytes.Lines(message) {
		if bytes.HasPrefix(text, []byte(`{"op":"ping"`)) {
			continue
		}
		rest, ok := bytes.CutPrefix(text, []byte(`{"op":"error","id":`))
		digits, rest, _ := bytes.Cut(rest, []byte(","))
		id, err := strconv.ParseUint(string(digits), 10, 64)
		if !ok || err != nil || !bytes.HasPrefix(rest, []byte(`"error":{"code":"overloaded"`)) || !bytes.Contains(rest, []byte(`"retryAfterMs":`)) {
			return fmt.Errorf("answered %s", text)
		}
		c.got.refused++
		delete(c.sent, id)
	}
	return nil
}

// each has every connection do something, and returns what became of what it has sent when all of
// it is answered.
func (f *flood) each(do func(c *floodClient) error) (all floodCount, err error) {
	var running sync.WaitGroup
	errs := make([]error, len(f.clients))
	for i, c := range f.clients {
		running.Go(func() { errs[i] = do(c) })
	}
	running.Wait()
	for _, c := range f.clients {
		if err := c.answered(); err != nil {
			return all, err
		}
		c.mu.Lock()
		all.sent += c.got.sent
		all.admitted += c.got.admitted
		all.refused += c.got.refused
		all.took = append(all.took, c.got.took...)
		all.errs = append(all.errs, c.got.errs...)
		c.got = floodCount{}
		c.mu.Unlock()
	}
	return all, errors.Join(errors.Join(errs...), all.check())
}

// answered waits until all is.
func (c *floodClient) answered() error {
	late := time.After(time.Minute)
	for {
		c.mu.Lock()
		left := len(c.sent)
		c.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-c.idle:
		case <-late:
			return fmt.Errorf("%d appends of %s are not answered", left, c.stream)
		}
	}
}

// floodPause is how long a connection waits before it sends what is due.
const floodPause = 20 * time.Millisecond

// atRate sends appends at a rate for a time, whatever is answered.
func (f *flood) atRate(rate float64, lasts time.Duration) (floodCount, error) {
	of := rate / float64(len(f.clients))
	return f.each(func(c *floodClient) error {
		begin, done := time.Now(), 0
		for time.Since(begin) < lasts {
			time.Sleep(max(floodPause, time.Until(begin.Add(time.Duration(float64(done+1)/of*float64(time.Second))))))
			due := int(time.Since(begin).Seconds()*of) - done
			if due == 0 {
				continue
			}
			if err := f.send(c, due); err != nil {
				return err
			}
			done += due
		}
		return nil
	})
}

// health asks for the node's health until it is stopped, which returns how often it did, and what
// went wrong first.
func health(node *process) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	var first error
	asked := 0
	asking.Go(func() {
		for ctx.Err() == nil {
			for _, path := range []string{"/livez", "/readyz", "/metrics"} {
				res, err := asks.Get(node.url + path)
				if err == nil {
					_ = res.Body.Close()
				}
				if err == nil && res.StatusCode != http.StatusOK {
					err = errors.New(res.Status)
				}
				if err != nil && first == nil {
					first = fmt.Errorf("%s: %w", path, err)
				}
				asked++
			}
			time.Sleep(floodPause)
		}
	})
	return func() (int, error) {
		cancel()
		asking.Wait()
		return asked, first
	}
}

// TestOverload: 100 connections have far more in flight than the node takes, for 5 s. All that is
// admitted is written, all else is overloaded, the node answers for its health and stays small.
// Afterwards it takes everything again.
func TestOverload(t *testing.T) {
	const limitMiB, batch = 256, 250
	dir := t.TempDir()
	node, err := serveWith(plainProgram(t, "gyre"), dir, append(os.Environ(), fmt.Sprintf("GOMEMLIMIT=%dMiB", limitMiB)), filepath.Join(dir, "node.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = node.end(9) }()
	f := newFlood(t, node.url, 100, 1)
	stop := health(node)
	admitted, refused := 0, 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		got, err := f.each(func(c *floodClient) error { return f.send(c, batch) })
		if err != nil {
			t.Fatal(err)
		}
		admitted, refused = admitted+got.admitted, refused+got.refused
	}
	if asked, err := stop(); err != nil || asked == 0 {
		t.Errorf("of %d questions for its health: %v", asked, err)
	}
	peak := peakMiB(t, node)
	t.Logf("%d appends are admitted, %d refused; %d of %d MiB", admitted, refused, peak, limitMiB)
	if admitted == 0 || refused == 0 {
		t.Errorf("%d appends are admitted, %d refused", admitted, refused)
	}
	if most := limitMiB * 12 / 10; peak > most {
		t.Errorf("the node took %d MiB, at most %d are allowed", peak, most)
	}
	if got, err := f.each(func(c *floodClient) error { return f.send(c, 1) }); err != nil || got.admitted != len(f.clients) {
		t.Errorf("afterwards %d of %d appends are admitted, %v", got.admitted, len(f.clients), err)
	}
	if head := int(metric(t, node, "gyre_log_head_position")); head != admitted+len(f.clients) {
		t.Errorf("%d appends are admitted, and %d written", admitted+len(f.clients), head)
	}
}

// TestSoakOverload measures what the admitted appends take at five times a load that the node
// sustains, with GYRE_SOAK=1.
func TestSoakOverload(t *testing.T) {
	if os.Getenv("GYRE_SOAK") == "" {
		t.Skip("GYRE_SOAK is not set")
	}
	dir := t.TempDir()
	node, err := serveWith(plainProgram(t, "gyre"), dir, os.Environ(), filepath.Join(dir, "node.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = node.end(9) }()
	f := newFlood(t, node.url, 200, 10)
	began := time.Now()
	full, err := f.each(func(c *floodClient) error {
		for time.Since(began) < 4*time.Second {
			if err := errors.Join(f.send(c, 2), c.answered()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	measure := func(what string, rate float64, lasts time.Duration) floodCount {
		stop := health(node)
		got, err := f.atRate(rate, lasts)
		asked, unwell := stop()
		if err != nil || unwell != nil {
			t.Fatalf("%s: %v, %v", what, err, unwell)
		}
		t.Logf("%s: %.0f appends of 10 events a second, %d admitted, %d refused; p50 %v, p99 %v; health asked %d times; peak %d MiB",
			what, rate, got.admitted, got.refused, got.at(.5), got.at(.99), asked, peakMiB(t, node))
		return got
	}
	// Messages are larger when more is sent, so that the node takes more than it does of clients
	// that wait for answers.
	const probe = 5 * time.Second
	most := measure("probe", 3*float64(full.admitted)/time.Since(began).Seconds(), probe).admitted
	sustained := float64(most) / probe.Seconds() / 2
	measure("warm", sustained, 5*time.Second)
	normal := measure("normal", sustained, 15*time.Second)
	over := measure("overloaded", 5*sustained, 20*time.Second)
	measure("recovering", sustained, 5*time.Second)
	after := measure("recovered", sustained, 10*time.Second)
	if over.refused == 0 {
		t.Error("nothing is refused at five times the load")
	}
	if limit := 3 * normal.at(.99); over.at(.99) > limit {
		t.Errorf("p99 of admitted appends is %v at five times the load, want %v at most", over.at(.99), limit)
	}
	if after.refused > after.sent/50 || after.at(.99) > 3*normal.at(.99) {
		t.Errorf("afterwards %d are refused, p99 is %v", after.refused, after.at(.99))
	}
}
