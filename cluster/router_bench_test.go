package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// fixedRing is a view that does not change.
type fixedRing struct{ state State }

func (f *fixedRing) State() *State  { return &f.state }
func (f *fixedRing) Learn(uint64)   {}
func (f *fixedRing) Renew(uint64)   {}
func (f *fixedRing) Refused(uint64) {}

// nearNodes returns the Routers of nodes in one view, joined by calls in this process, and
// what their links and answers say of the log's head.
func nearNodes(b testing.TB, n int) ([]*Router, *nearHeads) {
	log := memory.NewLog()
	if err := log.AdvanceEpoch(1); err != nil {
		b.Fatal(err)
	}
	v := &ring.View{Epoch: 2, Quorum: 1}
	for i := range n {
		v.Members = append(v.Members, ring.Member{Session: uint64(i + 1), Node: fmt.Sprint(i)})
	}
	routers, heads := make([]*Router, n), &nearHeads{hints: make([]uint64, n), sent: make([]uint64, n)}
	ready := make(chan struct{})
	defer close(ready)
	for i := range routers {
		store := core.NewStore(log.Open(), core.StoreConfig{})
		state := State{Self: v.Members[i], View: v, Owners: v.Owners(), ServesUntil: time.Now().Add(time.Hour), Changed: make(chan struct{})}
		routers[i] = NewRouter(RouterConfig{
			Ring: &fixedRing{state}, Store: store, Dialer: callDialer{routers, heads, ready, v.Members[i].Session},
			Head: func(position uint64) { heads.note(heads.hints, i, position) },
		})
		b.Cleanup(func() {
			routers[i].Close(context.Background())
			_ = store.Close()
		})
	}
	return routers, heads
}

// nearHeads are the newest positions that each node was hinted at, and that a HEAD was sent
// to it for.
type nearHeads struct {
	mu          sync.Mutex // protects the fields below
	hints, sent []uint64
}

func (h *nearHeads) note(of []uint64, node int, position uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	of[node] = max(of[node], position)
}

type callDialer struct {
	routers []*Router
	heads   *nearHeads
	ready   chan struct{} // closed when they are there
	from    uint64
}

func (d callDialer) Dial(_ context.Context, to ring.Member, _ uint64) (Link, error) {
	<-d.ready
	node := int(to.Session - 1)
	return &callLink{
		Incoming: d.routers[node].Incoming(d.from), broken: make(chan struct{}),
		head: func(position uint64) { d.heads.note(d.heads.sent, node, position) },
	}, nil
}

// callLink is a Link that calls the other end.
type callLink struct {
	Incoming
	subscriptions.Joiner
	head   func(position uint64)
	broken chan struct{}
	once   sync.Once
}

func (l *callLink) Head(position uint64) {
	l.head(position)
	l.Incoming.Head(position)
}

func (l *callLink) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	return l.Incoming.Join(ctx, r)
}
func (*callLink) Flush()                    {}
func (l *callLink) Broken() <-chan struct{} { return l.broken }
func (l *callLink) Close() error {
	l.once.Do(func() { close(l.broken) })
	l.Incoming.Close()
	return nil
}

// nearNode is the first of n nearNodes.
func nearNode(b testing.TB, n int) *Router {
	routers, _ := nearNodes(b, n)
	return routers[0]
}

// submitAll submits b.N appends to streams, with some on their way at a time.
func submitAll(b *testing.B, submit func(context.Context, core.Commit, func(core.Result, error)), streams []string) {
	b.ReportAllocs()
	room := make(chan struct{}, 256)
	event := []core.NewEvent{{Type: "T", Format: core.Bytes, Data: []byte("x")}}
	for i := range b.N {
		room <- struct{}{}
		c := core.Commit{Appends: []core.Append{{Stream: streams[i%len(streams)], Expect: core.AnyVersion, Events: event}}}
		submit(context.Background(), c, func(_ core.Result, err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
		})
	}
	for range cap(room) {
		room <- struct{}{}
	}
}

func names(prefix string, n int, of func(string) bool) []string {
	var all []string
	for i := 0; len(all) < n; i++ {
		if name := fmt.Sprintf("%s-%d", prefix, i); of == nil || of(name) {
			all = append(all, name)
		}
	}
	return all
}

// BenchmarkSubmit compares the Router over the engine in memory with the bare Store.
func BenchmarkSubmit(b *testing.B) {
	b.Run("store", func(b *testing.B) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		defer store.Close()
		submitAll(b, store.Submit, names("s", 64, nil))
	})
	b.Run("own", func(b *testing.B) {
		r := nearNode(b, 1)
		submitAll(b, r.Submit, names("s", 64, nil))
	})
	b.Run("forwarded", func(b *testing.B) {
		r := nearNode(b, 2)
		submitAll(b, r.Submit, names("s", 64, r.isElsewhere))
	})
}

// isElsewhere reports whether another node owns a stream.
func (r *Router) isElsewhere(stream string) bool { return !r.isHere(stream) }

func (r *Router) isHere(stream string) bool {
	owner, _, _ := r.Owner(stream)
	return owner.Session == r.config.Ring.State().Self.Session
}

// BenchmarkAppend reports the median of appends one after the other.
func BenchmarkAppend(b *testing.B) {
	run := func(name string, log core.Log, stream string) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				begun := time.Now()
				if _, err := log.Append(context.Background(), appendTo(stream, core.AnyVersion)); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
		})
	}
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	run("store", store, "s")
	r := nearNode(b, 2)
	run("own", r, names("s", 1, r.isHere)[0])
	run("forwarded", r, names("s", 1, r.isElsewhere)[0])
}
