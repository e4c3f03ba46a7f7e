package disk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// An event of benchDataBytes of data takes benchEventBytes in the log.
const (
	benchDataBytes  = 370
	benchEventBytes = 430
)

// benchStreams is how many streams the benchmarks' events are spread over.
const benchStreams = 10_000

func benchEvent(data []byte) core.NewEvent {
	return core.NewEvent{ID: core.NewID(), Type: "order_placed", Data: data}
}

// benchCommit measures steps of perGroup Commits of perCommit events each.
func benchCommit(b *testing.B, perGroup, perCommit int) {
	e := open(b, Config{SegmentBytes: defaultSegmentBytes})
	defer e.Close()
	data := make([]byte, benchDataBytes)
	data[0] = '1'
	names := make([]string, benchStreams)
	for i := range names {
		names[i] = fmt.Sprintf("order-%06d", i)
	}
	// On two cores it is two callers, which is what the Store has.
	b.RunParallel(func(pb *testing.PB) {
		group := make([]*core.Commit, perGroup)
		for i := range group {
			group[i] = &core.Commit{Appends: []core.Append{{Expect: core.AnyVersion, Events: make([]core.NewEvent, perCommit)}}}
		}
		for pb.Next() {
			for _, c := range group {
				c.Appends[0].Stream = names[rand.IntN(benchStreams)]
				for j := range c.Appends[0].Events {
					c.Appends[0].Events[j] = benchEvent(data)
				}
			}
			for _, o := range e.Commit(context.Background(), group).Outcomes {
				if o.Err != nil {
					b.Error(o.Err)
				}
			}
		}
	})
	n := b.N * perGroup * perCommit
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
}

func BenchmarkCommit1(b *testing.B)    { benchCommit(b, 1, 1) }
func BenchmarkCommit64(b *testing.B)   { benchCommit(b, 64, 1) }
func BenchmarkCommit1024(b *testing.B) { benchCommit(b, 1, 1024) }

// The floor is what the disk can do: the same bytes written to a file of
// zeros, one sync for each group.
func BenchmarkFloor1(b *testing.B)    { benchFloor(b, 1) }
func BenchmarkFloor64(b *testing.B)   { benchFloor(b, 64) }
func BenchmarkFloor1024(b *testing.B) { benchFloor(b, 1024) }

func benchFloor(b *testing.B, events int) {
	file, err := prepareSegment(osFS{}, b.TempDir(), 1, defaultSegmentBytes, unpaced())
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	group := make([]byte, events*benchEventBytes)
	for i := range group {
		group[i] = byte(i) | 1
	}
	o := int64(headerBytes)
	for b.Loop() {
		if o+int64(len(group)) > defaultSegmentBytes {
			o = headerBytes
		}
		if _, err := file.WriteAt(group, o); err != nil {
			b.Fatal(err)
		}
		if err := file.Datasync(); err != nil {
			b.Fatal(err)
		}
		o += int64(len(group))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}

func BenchmarkReadAll(b *testing.B) {
	e := open(b, Config{SegmentBytes: defaultSegmentBytes})
	defer e.Close()
	data := make([]byte, benchDataBytes)
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

// BenchmarkStream100 reads streams of 100 events that are spread over the log.
func BenchmarkStream100(b *testing.B) {
	e := open(b, Config{SegmentBytes: defaultSegmentBytes})
	defer e.Close()
	data := make([]byte, benchDataBytes)
	const streams = 3000
	for range 100 {
		c := &core.Commit{}
		for i := range streams {
			c.Appends = append(c.Appends, core.Append{Stream: fmt.Sprint("s", i), Expect: core.AnyVersion, Events: []core.NewEvent{benchEvent(data)}})
		}
		if o := e.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			b.Fatal(o.Err)
		}
	}
	for b.Loop() {
		r := core.ReadRequest{Stream: fmt.Sprint("s", rand.IntN(streams)), Limit: core.Limit{Events: 100, Bytes: core.MaxPageBytes}}
		if p, err := e.Read(context.Background(), r); err != nil || p.Count != 100 {
			b.Fatal(p.Count, err)
		}
	}
}

// BenchmarkRecords lists a few records among many that are not in the database yet, as
// whoever joins a subscription does.
func BenchmarkRecords(b *testing.B) {
	e := open(b, Config{SegmentBytes: defaultSegmentBytes})
	defer e.Close()
	const owners, each = 2000, 10
	for i := range owners {
		c := &core.Commit{}
		for k := range each {
			c.Records = append(c.Records, core.RecordOp{Table: "t", Key: fmt.Sprintf("%04d/%d", i, k), Expect: core.AnyVersion, Value: []byte("1")})
		}
		if o := e.Commit(context.Background(), []*core.Commit{c}).Outcomes[0]; o.Err != nil {
			b.Fatal(o.Err)
		}
	}
	for b.Loop() {
		r := core.RecordsRequest{Table: "t", Prefix: fmt.Sprintf("%04d/", rand.IntN(owners)), Limit: 100}
		if found, err := e.Records(context.Background(), r); err != nil || len(found) != each {
			b.Fatal(len(found), err)
		}
	}
}
