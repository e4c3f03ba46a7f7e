package disk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// benchStreams is how many streams the benchmarks' events are spread over.
const benchStreams = 10_000

func benchEvent(data []byte) core.NewEvent {
	return core.NewEvent{ID: core.NewID(), Type: "order_placed", Data: data}
}

func benchCommit(b *testing.B, perGroup, perCommit int) {
	e := open(b, Config{SegmentBytes: defaultSegmentBytes})
	defer e.Close()
	data := make([]byte, 370)
	data[0] = '1'
	names := make([]string, benchStreams)
	for i := range names {
		names[i] = fmt.Sprintf("order-%06d", i)
	}
	group := make([]*core.Commit, perGroup)
	for b.Loop() {
		for i := range group {
			events := make([]core.NewEvent, perCommit)
			for j := range events {
				events[j] = benchEvent(data)
			}
			group[i] = &core.Commit{Appends: []core.Append{{Stream: names[rand.IntN(benchStreams)], Expect: core.AnyVersion, Events: events}}}
		}
		step := e.Commit(context.Background(), group)
		for _, o := range step.Outcomes {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
	}
	n := b.N * perGroup * perCommit
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

func BenchmarkCommit1(b *testing.B)        { benchCommit(b, 1, 1) }
func BenchmarkCommit64(b *testing.B)       { benchCommit(b, 64, 1) }
func BenchmarkCommit1024(b *testing.B)     { benchCommit(b, 1, 1024) }
func BenchmarkCommit1024by64(b *testing.B) { benchCommit(b, 16, 64) }

func BenchmarkReadAll(b *testing.B) {
	e := open(b, Config{SegmentBytes: defaultSegmentBytes})
	defer e.Close()
	data := make([]byte, 370)
	var events []core.NewEvent
	for range 1000 {
		events = append(events, benchEvent(data))
	}
	for i := range 200 {
		for j := range events {
			events[j].ID = core.NewID()
		}
		c := &core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("s", i%7), Expect: core.AnyVersion, Events: events}}}
		if o := e.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			b.Fatal(o.Err)
		}
	}
	n := 0
	for b.Loop() {
		r := core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}}
		for {
			p, err := e.Read(context.Background(), r)
			if err != nil {
				b.Fatal(err)
			}
			n += p.Count
			if p.End {
				break
			}
			r.From = p.Next
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}
