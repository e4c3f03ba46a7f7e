package delivery

import (
	"strconv"
	"testing"
	"time"
)

// BenchmarkDelivery is the way of an event through the machine: fed, sent, acked and
// its checkpoint stored, in batches of 64.
func BenchmarkDelivery(b *testing.B) {
	b.Run("unpartitioned", func(b *testing.B) { deliver(b, newRig(DefaultOptions(), 1, 0)) })
	b.Run("subscribers=8", func(b *testing.B) {
		o := DefaultOptions()
		o.ConcurrencyLimit = 8
		deliver(b, newRig(o, 8, 0))
	})
	b.Run("keys=1", func(b *testing.B) { deliver(b, newRig(keyed(1), 1, 1)) })
	b.Run("keys=1/subscribers=8", func(b *testing.B) { deliver(b, newRig(keyed(8), 8, 1)) })
	b.Run("keys=1000", func(b *testing.B) { deliver(b, newRig(keyed(1), 1, 1000)) })
	b.Run("keys=1000/subscribers=8", func(b *testing.B) { deliver(b, newRig(keyed(8), 8, 1000)) })
	b.Run("keys=all", func(b *testing.B) { deliver(b, newRig(keyed(1), 1, 1<<16)) })
}

func keyed(concurrency int) Options {
	o := DefaultOptions()
	o.PartitionBy, o.ConcurrencyLimit = "stream", concurrency
	return o
}

func deliver(b *testing.B, r *rig) {
	b.ReportAllocs()
	for r.acked < 1<<18 {
		r.round()
	}
	r.acked = 0
	b.ResetTimer()
	for r.acked < b.N {
		r.round()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(r.acked), "ns/event")
}

// TestNothingIsAllocatedPerEvent holds the machine to what the benchmark shows.
func TestNothingIsAllocatedPerEvent(t *testing.T) {
	for name, r := range map[string]*rig{
		"unpartitioned": newRig(DefaultOptions(), 1, 0),
		"keys":          newRig(keyed(8), 8, 1000),
	} {
		for range 2000 {
			r.round()
		}
		before := r.acked
		rounds := 0
		allocs := testing.AllocsPerRun(200, func() { r.round(); rounds++ })
		if perEvent := allocs * float64(rounds) / float64(r.acked-before); perEvent > 0.01 {
			t.Errorf("%s: %.2f allocations an event", name, perEvent)
		}
	}
}

// rig is a host that feeds what is asked for and acks what is sent.
type rig struct {
	m     *Machine
	now   time.Time
	items []Item
	keys  []string
	raw   []byte
	acks  []uint64
	last  uint64
	acked int
}

func newRig(o Options, subscribers, keys int) *rig {
	r := &rig{m: New(epoch, Config{Options: o}), now: epoch, raw: make([]byte, 430)}
	for i := range keys {
		r.keys = append(r.keys, "order-"+strconv.Itoa(i*7919))
	}
	for range subscribers {
		if _, err := r.m.Join(Consumer{}, Credit{Unlimited, Unlimited}); err != nil {
			panic(err)
		}
	}
	return r
}

func (r *rig) round() {
	r.now = r.now.Add(time.Millisecond)
	o := r.m.Advance(r.now)
	for _, s := range o.Sends {
		r.acks = r.acks[:0]
		for _, d := range s.Events {
			r.acks = append(r.acks, d.Position)
		}
		if err := r.m.Ack(r.now, s.Lease, r.acks); err != nil {
			panic(err)
		}
		r.acked += len(r.acks)
	}
	if o.Store != nil {
		r.m.Stored(r.now, nil)
	}
	if n := min(o.Read.Events, 64*len(r.m.subs.all)); n > 0 {
		r.feed(n)
	}
}

func (r *rig) feed(n int) {
	r.items = r.items[:0]
	for range n {
		r.last++
		it := Item{Position: r.last, RecordedMicros: int64(r.last), Raw: r.raw}
		if len(r.keys) > 0 {
			it.Key = r.keys[int(r.last*2654435761)%len(r.keys)]
		}
		r.items = append(r.items, it)
	}
	if err := r.m.Feed(r.items, r.last, true); err != nil {
		panic(err)
	}
}
