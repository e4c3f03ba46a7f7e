package requests

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
)

const (
	// gateWindow is how often a Gate looks whether answers come in time.
	gateWindow = 100 * time.Millisecond
	// growth is the part by which a limit grows in a window: from its least to its most
	// within a few seconds.
	growth = 8
)

// The Gates of a node.
const (
	everyRequest = iota
	appendRequest
	readRequest
	gates
)

// refusal is why a Gate refuses. Its error is made once: nothing is to cost less than to refuse.
type refusal struct {
	err     *core.Error
	counted prometheus.Counter
}

// Gate bounds the requests that are in flight, in all and of each Share. Its limit adapts if
// it has a target: when most answers take longer, it becomes the number of requests that are
// answered within the target, and grows again when they do not.
type Gate struct {
	kind        int
	name        string
	least, most int64
	target      time.Duration // 0: the limit stays

	limit, used     atomic.Int64
	full, shareFull refusal

	// Of the present window:
	began      atomic.Int64 // nanoseconds after made
	done, slow atomic.Int64
	wasLate    atomic.Bool // of the one before
	made       time.Time
}

// Gates are those of a node, and the Shares that hold places of them.
type Gates struct {
	*Shares
	// Requests are all that are not answered, Appends those that the Store has, Reads those
	// that read it.
	Requests, Appends, Reads Gate
}

// NewGates returns the Gates of l, and registers their metrics. Those that adapt leave room
// for everything that one connection may have.
func NewGates(l *Limits, registry prometheus.Registerer) (*Gates, error) {
	g := &Gates{Shares: NewShares()}
	leave := func(one int) int64 { return int64(one) * (1 + portion) / portion }
	g.Requests.init(everyRequest, "requests", int64(l.Load.Requests), int64(l.Load.Requests), 0)
	g.Appends.init(appendRequest, "appends", leave(l.Inflight), int64(l.Load.Appends), l.Load.Target)
	g.Reads.init(readRequest, "reads", leave(l.Reads), int64(l.Load.Reads), l.Load.Target)

	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gyre_requests_refused_total", Help: "Requests refused as overloaded, by kind, and by reason: all, the limit of the node; principal, that of one principal.",
	}, []string{"kind", "reason"})
	list := []prometheus.Collector{refused}
	for _, gate := range []*Gate{&g.Requests, &g.Appends, &g.Reads} {
		gate.full.counted, gate.shareFull.counted = refused.WithLabelValues(gate.name, "all"), refused.WithLabelValues(gate.name, "principal")
		kind := prometheus.Labels{"kind": gate.name}
		list = append(list,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "gyre_requests_in_flight", Help: "Requests in flight, by kind: all requests, and of them appends and reads that are at work.", ConstLabels: kind,
			}, func() float64 { return float64(gate.used.Load()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "gyre_requests_limit", Help: "Where more requests are refused as overloaded, by kind. Those of appends and reads adapt.", ConstLabels: kind,
			}, func() float64 { return float64(gate.limit.Load()) }))
	}
	return g, Register(registry, list...)
}

// Refusals are all errors that Enter returns.
func (g *Gates) Refusals() (list []*core.Error) {
	for _, gate := range []*Gate{&g.Requests, &g.Appends, &g.Reads} {
		list = append(list, gate.full.err, gate.shareFull.err)
	}
	return list
}

// init makes a Gate. least is what its limit never falls below, most where it begins.
func (g *Gate) init(kind int, name string, least, most int64, target time.Duration) {
	g.kind, g.name, g.least, g.most, g.target = kind, name, min(least, most), most, target
	g.full.err = core.Errorf(core.CodeOverloaded, "the node has as many %s in flight as it takes now", name)
	g.shareFull.err = core.Errorf(core.CodeOverloaded, "you have as many %s in flight as the node takes of one client now", name)
	g.full.err.RetryAfter, g.shareFull.err.RetryAfter = gateWindow, gateWindow
	g.made = time.Now()
	g.limit.Store(most)
}

// Enter takes a place for a request, or returns overloaded. Leave gives it back.
func (g *Gate) Enter(s *Share) error {
	if s == nil {
		return nil
	}
	held, used, limit := s.held[g.kind].Add(1), g.used.Add(1), g.limit.Load()
	if mayTake(held-1, 1, limit, used-1) {
		return nil
	}
	s.held[g.kind].Add(-1)
	g.used.Add(-1)
	why := &g.shareFull
	if used > limit {
		why = &g.full
	}
	why.counted.Inc()
	return why.err
}

// Leave gives a place back, of a request that was begun then; the zero time is one that says
// nothing about the node.
func (g *Gate) Leave(s *Share, begun time.Time) {
	if s == nil {
		return
	}
	s.held[g.kind].Add(-1)
	used := g.used.Add(-1) + 1
	if g.target == 0 || begun.IsZero() {
		return
	}
	now := time.Now()
	g.done.Add(1)
	if now.Sub(begun) > g.target {
		g.slow.Add(1)
	}
	at, began := int64(now.Sub(g.made)), g.began.Load()
	if elapsed := at - began; elapsed >= int64(gateWindow) && g.began.CompareAndSwap(began, at) {
		g.limit.Store(g.next(used, g.done.Swap(0), g.slow.Swap(0), time.Duration(elapsed)))
	}
}

// next returns the limit after a window, in which so many requests were answered, and so many
// of them late. used are in flight: a few that are late wait for something else than each
// other. At the most a single window that is late changes nothing: it is a burst, or a disk that
// stalled, and soon over.
func (g *Gate) next(used, done, slow int64, elapsed time.Duration) int64 {
	limit := g.limit.Load()
	late := 2*slow > done && 2*used > g.least
	switch wasLate := g.wasLate.Swap(late); {
	case !late:
		return min(g.most, limit+max(1, limit/growth))
	case !wasLate && limit == g.most:
		return limit
	}
	inTime := int64(float64(done) * float64(g.target) / float64(elapsed))
	return max(g.least, min(limit, inTime))
}
