package subscriptions_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// callCounter counts the calls that an engine reads with.
type callCounter struct {
	*memory.Handle
	calls atomic.Int64
}

func (c *callCounter) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	c.calls.Add(1)
	return c.Handle.Read(ctx, r)
}

func (c *callCounter) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	c.calls.Add(1)
	return c.Handle.Records(ctx, r)
}

// moves are two nodes on one log, and subscriptions that move from the first to the second.
type moves struct {
	t       *testing.T
	a, b    *node
	storage *callCounter // b's
	want    map[string][]uint64
	fails   func(name string) bool // nil: none
}

func newMoves(t *testing.T) *moves {
	log := memory.NewLog()
	m := &moves{t: t, storage: &callCounter{Handle: log.Open()}, want: map[string][]uint64{}}
	m.a, m.b = newNode(t, log.Open()), newNode(t, m.storage)
	// As in a ring, somebody follows at the second node: its tail has what is written.
	f, err := m.b.store.Follow(t.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return m
}

// begin has a subscription of a stream of its own handle events in some way. It returns
// their positions.
func (m *moves) begin(name string, events int, handle func(c *consumer, positions []uint64)) {
	m.t.Helper()
	for range events {
		r, err := m.a.store.Append(m.t.Context(), core.Commit{Appends: []core.Append{
			{Stream: name, Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}},
		}})
		if err != nil {
			m.t.Fatal(err)
		}
		m.want[name] = append(m.want[name], r.Position)
	}
	m.a.put(name, func(d *subscriptions.Definition) { d.Stream, d.BufferSize = name, 1000 })
	c := m.a.join(name, unlimited)
	handle(c, c.take(events))
	c.Leave(true)
}

// unwant says that the next owner does not deliver an event.
func (m *moves) unwant(name string, position uint64) {
	m.want[name] = slices.DeleteFunc(m.want[name], func(p uint64) bool { return p == position })
}

// move has the second node host all subscriptions at once, from storage that takes its
// time, and compares what they deliver. It returns how many calls that took.
func (m *moves) move() int64 {
	m.t.Helper()
	m.a.close(m.a.Owner)
	synctest.Wait()
	m.storage.Slow(5*time.Millisecond, 5*time.Millisecond)
	before := m.storage.calls.Load()
	var joining sync.WaitGroup
	for name, want := range m.want {
		joining.Go(func() {
			s, err := subscriptions.JoinWaiting(m.t.Context(), m.b, subscriptions.JoinRequest{Name: name, Credit: unlimited})
			if fails := m.fails != nil && m.fails(name); fails != (err != nil) {
				m.t.Errorf("%s: %v", name, err)
			}
			if err != nil {
				return
			}
			defer s.Leave(true)
			ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second) // of virtual time, less than that to ack
			defer cancel()
			var got []uint64
			for {
				d, err := s.Next(ctx, core.Limit{Events: 100, Bytes: 1 << 20})
				if err != nil {
					break
				}
				for e := range d.Events() {
					got = append(got, e.Position)
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				m.t.Errorf("%s delivers %d, want %d", name, got, want)
			}
		})
	}
	joining.Wait()
	return m.storage.calls.Load() - before
}

// TestManyMoveInFewCalls has subscriptions of all kinds move at once: with nothing else
// stored than a checkpoint, with a parked event behind it, with one that failed, and with
// one to replay. However many there are, storage is asked few times.
func TestManyMoveInFewCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMoves(t)
		for i := range 200 {
			name := fmt.Sprintf("s-%03d", i)
			m.begin(name, 4, func(c *consumer, p []uint64) {
				c.ack(p[0])
				m.unwant(name, p[0])
				switch i % 4 {
				case 0:
				case 1:
					c.park(p[2])
					m.unwant(name, p[2])
				case 2:
					if err := c.Nack(p[1:2], delivery.Nack{Action: delivery.ActionRetry, Delay: time.Hour}); err != nil {
						t.Fatal(err)
					}
					m.unwant(name, p[1])
				case 3:
					c.ack(p[1:]...)
					m.want[name] = nil
				}
			})
		}
		replayed := map[string]uint64{"r-0": 0, "r-1": 0}
		for name := range replayed {
			m.begin(name, 3, func(c *consumer, p []uint64) { c.park(p[1]) })
			if _, err := m.a.Replay(t.Context(), name, subscriptions.Selection{All: true}); err != nil {
				t.Fatal(err)
			}
		}
		// Two loads of five calls, some of the log's head, and three for each replay.
		if n := m.move(); n > 24 {
			t.Errorf("%d calls for %d subscriptions", n, len(m.want))
		}
	})
}

// TestLoadOfMoreThanAPage has subscriptions move that have more parked events together than
// one page of records has room for.
func TestLoadOfMoreThanAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMoves(t)
		for name, parked := range map[string]int{"a": 700, "b": 700, "c": 1, "d": 1, "e": 0} {
			m.begin(name, parked+2, func(c *consumer, p []uint64) {
				for _, position := range p[1 : parked+1] {
					m.unwant(name, position)
				}
				for some := range slices.Chunk(p[1:parked+1], 100) {
					c.park(some...)
				}
			})
		}
		m.move()
	})
}

// TestBadRecordFailsItsSubscription: where the records of some subscriptions are not what
// this version writes, these fail, and those that move with them go on.
func TestBadRecordFailsItsSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMoves(t)
		kept := func(c *consumer, p []uint64) { c.park(p[1]) }
		bad := []string{"bad-json", "bad-empty", "bad-long", "bad-zero", "bad-progress", "bad-parked"}
		for _, name := range append(bad, "good-1", "good-2") {
			m.begin(name, 3, kept)
			m.unwant(name, m.want[name][1])
		}
		record := func(table, key string) core.Record {
			list, err := m.a.store.Records(t.Context(), core.RecordsRequest{Table: table, Prefix: key})
			if err != nil || len(list) == 0 {
				t.Fatalf("record %s/%s: %v, %v", table, key, list, err)
			}
			return list[0]
		}
		ids := map[string]string{}
		for _, name := range bad {
			i, err := m.a.Info(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			ids[name] = i.Incarnation
		}
		m.a.close(m.a.Owner)
		put := func(table, key, value string) {
			if _, err := m.a.store.Append(t.Context(), core.Commit{Records: []core.RecordOp{
				{Table: table, Key: record(table, key).Key, Expect: core.AnyVersion, Value: []byte(value)},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		define := func(name, id string) {
			text := string(record("subscriptions", name).Value)
			if !strings.Contains(text, ids[name]) {
				t.Fatalf("the record of %s is %s", name, text)
			}
			put("subscriptions", name, strings.ReplaceAll(text, ids[name], id))
		}
		put("subscriptions", "bad-json", "{")
		define("bad-empty", "")
		define("bad-long", strings.Repeat("i", 2000))
		define("bad-zero", `\u0000`)
		put("subscription_state", ids["bad-progress"], "{")
		put("subscription_parked", ids["bad-parked"], "{")
		m.fails = func(name string) bool { return strings.HasPrefix(name, "bad-") }
		m.move()
	})
}
