package sdk_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
)

// BenchmarkSubscribe handles 100,000 stored events, with an ack for each, beside a
// follow of the same; an op is one event.
func BenchmarkSubscribe(b *testing.B) {
	n := startNode(b)
	const stored = 100_000
	for range stored / 1000 {
		c := event("s")
		for range 999 {
			c.Appends[0].Events = append(c.Appends[0].Events, event("s").Appends[0].Events[0])
		}
		if _, err := n.store.Append(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	c := dial(b, n.addr, sdk.Options{})
	b.Run("follow", func(b *testing.B) {
		for left := b.N; left > 0; {
			left -= catchUp(b, c, min(left, stored))
		}
	})
	for _, with := range []struct {
		buffer int
		by     string // one key: all events are of one stream
	}{{64, delivery.Unpartitioned}, {64, subscriptions.ByStream}, {256, delivery.Unpartitioned}, {1024, delivery.Unpartitioned}} {
		o := sdk.SubscribeOptions{Definition: definition(func(d *subscriptions.Definition) {
			d.BufferSize, d.PartitionBy = with.buffer, with.by
		})}
		name := fmt.Sprintf("buffer=%d/by=%s", with.buffer, with.by)
		b.Run("batches/"+name, func(b *testing.B) {
			each(b, n, c, "bench", o, func(s *sdk.Subscriber, count int) {
				for count > 0 {
					d, err := s.Next(b.Context(), core.Limit{Events: 64, Bytes: 1 << 20})
					if err != nil {
						b.Fatal(err)
					}
					for range d.Events() {
						count--
					}
					if err := d.Ack(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
		b.Run("events/"+name, func(b *testing.B) {
			each(b, n, c, "bench", o, func(s *sdk.Subscriber, count int) {
				for d, err := range s.Events(b.Context()) {
					if err != nil {
						b.Fatal(err)
					}
					if err := d.Ack(); err != nil {
						b.Fatal(err)
					}
					if count--; count == 0 {
						break
					}
				}
			})
		})
		b.Run("consume/"+name, func(b *testing.B) {
			each(b, n, c, "bench", o, func(s *sdk.Subscriber, count int) {
				ctx, stop := context.WithCancel(b.Context())
				defer stop()
				_ = s.Consume(ctx, func(context.Context, sdk.Delivery) error {
					if count--; count == 0 {
						stop()
					}
					return nil
				})
			})
		})
	}
}

// each goes through the log's events from the first on, as often as it takes for b.N.
func each(b *testing.B, n *node, c *sdk.Client, name string, o sdk.SubscribeOptions, handle func(s *sdk.Subscriber, count int)) {
	b.ReportAllocs()
	stored := int(n.store.State().Head)
	for left := b.N; left > 0; left -= stored {
		b.StopTimer()
		s := subscribe(b, c, name, o)
		b.StartTimer()
		handle(s, min(left, stored))
		b.StopTimer()
		if err := s.Close(within(b)); err != nil {
			b.Fatal(err)
		}
		if err := n.owner.Delete(b.Context(), name); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkStrictOrder handles one event at a time: it is bounded by round trips, beside
// that of a read of one event.
func BenchmarkStrictOrder(b *testing.B) {
	n := startNode(b)
	c := dial(b, n.addr, sdk.Options{})
	commit := event("s")
	for range 999 {
		commit.Appends[0].Events = append(commit.Appends[0].Events, event("s").Appends[0].Events[0])
	}
	for range 20 {
		for i := range commit.Appends[0].Events {
			commit.Appends[0].Events[i].ID = core.NewID()
		}
		if _, err := n.store.Append(b.Context(), commit); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("roundtrip", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Read(b.Context(), core.ReadRequest{Stream: "s", From: 1, Limit: core.Limit{Events: 1}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("events", func(b *testing.B) {
		o := sdk.SubscribeOptions{Definition: definition(func(d *subscriptions.Definition) { d.BufferSize = 1 })}
		each(b, n, c, "strict", o, func(s *sdk.Subscriber, count int) {
			for d, err := range s.Events(b.Context()) {
				if err != nil {
					b.Fatal(err)
				}
				if err := d.Ack(); err != nil {
					b.Fatal(err)
				}
				if count--; count == 0 {
					break
				}
			}
		})
	})
}
