package sdk_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// payload is the event of the benchmarks: about 430 bytes encoded.
var payload = []byte(`{"order":"` + strings.Repeat("x", 330) + `"}`)

func event(stream string) core.Commit {
	return core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: core.NewID(), Type: "OrderPaid", Data: payload}}}}}
}

// BenchmarkAppend compares appends of single events: 256 callers in the process
// with 256 in flight on one connection, and 64 connections with one each with a
// bare WebSocket echo.
func BenchmarkAppend(b *testing.B) {
	b.Run("process256", func(b *testing.B) {
		store := newStore(b)
		b.ReportAllocs()
		callers(b, 256, func(int) { mustAppend(b, store) })
	})
	for name, o := range modes {
		b.Run("connection256/"+name, func(b *testing.B) {
			c := dial(b, serve(b, newStore(b), wsapi.Limits{}), o)
			b.ReportAllocs()
			var left sync.WaitGroup
			left.Add(b.N)
			b.ResetTimer()
			for range b.N {
				c.Submit(b.Context(), event("s"), func(_ core.Result, err error) {
					if err != nil {
						b.Error(err)
					}
					left.Done()
				})
			}
			left.Wait()
		})
	}
	b.Run("connections64", func(b *testing.B) {
		url := serve(b, newStore(b), wsapi.Limits{})
		clients := make([]*sdk.Client, 64)
		for i := range clients {
			clients[i] = dial(b, url, sdk.Options{})
		}
		callers(b, 64, func(i int) { mustAppend(b, clients[i]) })
	})
	b.Run("echo64", func(b *testing.B) {
		url := echo(b)
		conns := make([]*websocket.Conn, 64)
		for i := range conns {
			conns[i] = bare(b, url)
		}
		message := make([]byte, 430)
		callers(b, 64, func(i int) {
			if err := conns[i].WriteMessage(websocket.BinaryMessage, message); err != nil {
				b.Error(err)
			}
			if _, _, err := conns[i].ReadMessage(); err != nil {
				b.Error(err)
			}
		})
	})
}

// BenchmarkTransaction writes one event to each of 10 streams at once, with 256 such
// Commits in flight on one connection; an op is a Commit. Both ends are measured.
func BenchmarkTransaction(b *testing.B) {
	for name, o := range modes {
		b.Run(name, func(b *testing.B) {
			c := dial(b, serve(b, newStore(b), wsapi.Limits{}), o)
			b.ReportAllocs()
			var left sync.WaitGroup
			left.Add(b.N)
			b.ResetTimer()
			for range b.N {
				c.Submit(b.Context(), transaction(), func(_ core.Result, err error) {
					if err != nil {
						b.Error(err)
					}
					left.Done()
				})
			}
			left.Wait()
		})
	}
}

// transaction is a Commit of an event for each of 10 streams.
func transaction() (c core.Commit) {
	for i := range 10 {
		c.Appends = append(c.Appends, event("s-" + strconv.Itoa(i)).Appends[0])
	}
	return c
}

// callers has n goroutines do b.N calls between them.
func callers(b *testing.B, n int, call func(i int)) {
	b.Helper()
	var next atomic.Int64
	var done sync.WaitGroup
	b.ResetTimer()
	for i := range n {
		done.Go(func() {
			for next.Add(1) <= int64(b.N) {
				call(i)
			}
		})
	}
	done.Wait()
}

func mustAppend(b *testing.B, log core.Log) {
	if _, err := log.Append(b.Context(), event("s")); err != nil {
		b.Error(err)
	}
}

// echo serves WebSockets that answer every message with itself.
func echo(b *testing.B) string {
	upgrader := websocket.Upgrader{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for {
			kind, message, err := c.ReadMessage()
			if err != nil || c.WriteMessage(kind, message) != nil {
				return
			}
		}
	}))
	b.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func bare(b *testing.B, url string) *websocket.Conn {
	c, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// BenchmarkFollow catches up with 100,000 stored events, in the process and over a
// connection; an op is one event.
func BenchmarkFollow(b *testing.B) {
	store := newStore(b)
	const stored = 100_000
	for range stored / 1000 {
		c := event("s")
		for range 999 {
			c.Appends[0].Events = append(c.Appends[0].Events, event("s").Appends[0].Events[0])
		}
		if _, err := store.Append(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	url := serve(b, store, wsapi.Limits{})
	logs := map[string]core.Log{"process": store}
	for name, o := range modes {
		logs[name] = dial(b, url, o)
	}
	for name, log := range logs {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for left := b.N; left > 0; {
				left -= catchUp(b, log, min(left, stored))
			}
		})
	}
}

func catchUp(b *testing.B, log core.Log, count int) (seen int) {
	f, err := log.Follow(b.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for seen < count {
		d, err := f.Next(b.Context(), core.Limit{Events: 1000, Bytes: 256 << 10})
		if err != nil {
			b.Fatal(err)
		}
		for range d.Events() {
			seen++
		}
	}
	return seen
}

// BenchmarkAppendToSeen is the time from an append to its sight by a follow.
func BenchmarkAppendToSeen(b *testing.B) {
	url := serve(b, newStore(b), wsapi.Limits{})
	writer, reader := dial(b, url, sdk.Options{}), dial(b, url, sdk.Options{})
	f, err := reader.Follow(b.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		mustAppend(b, writer)
		for seen := false; !seen; {
			d, err := f.Next(b.Context(), core.Limit{Events: 1, Bytes: 1})
			if err != nil {
				b.Fatal(err)
			}
			seen = d.Count > 0
		}
	}
}

// BenchmarkIdleFollows reports what an idle connection with a follow holds at the
// server: each is made by hand, so that the client's side is small and known.
func BenchmarkIdleFollows(b *testing.B) {
	api, err := wsapi.New(wsapi.Config{Store: newStore(b)})
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(api)
	defer server.Close()
	defer func() { _ = api.Close(context.Background()) }()
	const count = 500
	for range b.N {
		before := held()
		dialer := websocket.Dialer{ReadBufferSize: 512, WriteBufferSize: 512}
		var conns []*websocket.Conn
		for range count {
			c, _, err := dialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/v1/ws", nil)
			if err != nil {
				b.Fatal(err)
			}
			conns = append(conns, c)
			for _, text := range []string{`{"op":"hello","id":1}`, `{"op":"subscribe","id":2,"sub":1,"stream":"$all","credit":{"events":100}}`} {
				if err := c.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
					b.Fatal(err)
				}
			}
			for range 3 { // welcome, ok, status
				if _, _, err := c.ReadMessage(); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(held()-before)/count/1024, "KiB/follow")
		for _, c := range conns {
			c.Close()
		}
	}
}

// held is the memory in use, stacks included.
func held() int64 {
	runtime.GC()
	runtime.GC() // what had finalizers is gone only now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
