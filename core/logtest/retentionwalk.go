package logtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
)

// agingWalk does random things to streams and their policies, and compares what can be read with
// what a model says of the log as it was written.
type agingWalk struct {
	s        *aging
	rand     *rand.Rand
	seed     uint64
	policies map[core.RetentionTarget]core.Retention
}

// agingSteps is the length of a walk at full length.
const agingSteps = 1000

var agingStreams = []string{"order-1", "order-2", "user-1", "links", "user-links"}

func newAgingWalk(s *aging) *agingWalk {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GYRE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		s.ok(err)
		seed = n
	}
	return &agingWalk{s: s, rand: rand.New(rand.NewPCG(seed, 1)), seed: seed, policies: make(map[core.RetentionTarget]core.Retention)}
}

func (w *agingWalk) run() {
	steps := agingSteps
	if os.Getenv("GYRE_SOAK") != "1" {
		steps /= 20
	}
	for step := range steps {
		w.step()
		w.compare(core.All, w.pick())
		if w.s.Failed() {
			w.s.Fatalf("at step %d; repeat with GYRE_SEED=%d", step, w.seed)
		}
	}
	w.compare(agingStreams...)
}

func (w *agingWalk) pick() string { return agingStreams[w.rand.IntN(len(agingStreams))] }

func (w *agingWalk) step() {
	s := w.s
	switch n := w.rand.IntN(13); {
	case n < 5:
		s.write(w.pick(), 1+w.rand.IntN(4))
	case n < 7:
		w.link()
	case n < 10:
		w.setPolicy()
	case n == 10:
		w.age()
	case n == 11:
		if _, err := s.node.Scavenge(s.ctx, core.Scavenging{All: true}); err != nil && !errors.Is(err, core.CodeNotSupported) {
			s.Fatal(err)
		}
	default:
		w.remove()
	}
}

// link links an event, which may have expired, into a stream.
func (w *agingWalk) link() {
	log := w.log()
	if len(log) == 0 {
		return
	}
	c := linkTo([]string{"links", "user-links"}[w.rand.IntN(2)], core.AnyVersion, log[w.rand.IntN(len(log))].ID)
	if _, err := w.s.log.Append(w.s.ctx, c); err != nil && !errors.Is(err, core.CodeDuplicateEvent) {
		w.s.Fatal(err)
	}
}

// log is what was written, of streams that are no system's.
func (w *agingWalk) log() (log []core.Event) {
	for from := uint64(1); ; {
		page, err := w.s.node.ReadLog(w.s.ctx, from, limit(1000))
		w.s.ok(err)
		for e := range page.Events() {
			if !core.IsSystem(e.Stream) {
				log = append(log, e)
			}
		}
		if page.End {
			return log
		}
		from = page.Next
	}
}

func (w *agingWalk) setPolicy() {
	t := stream(w.pick())
	if w.rand.IntN(3) == 0 {
		t = core.RetentionTarget{Category: core.CategoryOf(t.Stream)}
	}
	var r core.Retention
	if w.rand.IntN(2) == 0 {
		r.MaxAge = time.Duration(1+w.rand.IntN(3)) * time.Hour
	}
	if w.rand.IntN(2) == 0 {
		r.MaxCount = uint64(1 + w.rand.IntN(6))
	}
	r.TruncateBefore = w.policies[t].TruncateBefore
	if t.Stream != "" && w.rand.IntN(2) == 0 {
		r.TruncateBefore = max(r.TruncateBefore, w.version(t.Stream)/uint64(1+w.rand.IntN(3)))
	}
	w.s.keeps(t, r)
	w.policies[t] = r
}

func (w *agingWalk) version(name string) (version uint64) {
	page, err := w.s.log.Read(w.s.ctx, core.ReadRequest{Stream: name, Limit: limit(1)})
	if err != nil && !errors.Is(err, core.CodeStreamNotFound) {
		w.s.Fatal(err)
	}
	return page.Version
}

// age has an event of the log be just old enough for a policy, or not quite.
func (w *agingWalk) age() {
	if log := w.log(); len(log) > 0 {
		e := log[w.rand.IntN(len(log))]
		w.s.clock.Set(e.Recorded.Add(time.Duration(1+w.rand.IntN(3)) * time.Hour).Add(time.Duration(w.rand.IntN(3)-1) * time.Microsecond))
	}
}

func (w *agingWalk) remove() {
	name := w.pick()
	c := change(name, core.AnyVersion, core.RemoveStream)
	w.s.ok(core.RemoveRetentions(w.s.ctx, w.s.node, &c))
	_, err := w.s.node.Append(w.s.ctx, c)
	switch {
	case errors.Is(err, core.CodeStreamNotFound), errors.Is(err, core.CodeNotSupported):
	case err != nil:
		w.s.Fatal(err)
	default:
		delete(w.policies, stream(name))
	}
}

// left is the model: what of the log has not expired.
func (w *agingWalk) left() (left []core.Event) {
	log := w.log()
	last, recorded := map[string]uint64{}, map[core.ID]time.Time{}
	for _, name := range agingStreams {
		last[name] = w.version(name) // links to removed events count
	}
	for _, e := range log {
		if e.Link.IsZero() {
			recorded[e.ID] = e.Recorded
		}
	}
	expired := func(name string, version uint64, recorded time.Time) bool {
		own, category := w.policies[stream(name)], w.policies[core.RetentionTarget{Category: core.CategoryOf(name)}]
		if own.MaxAge == 0 {
			own.MaxAge = category.MaxAge
		}
		if own.MaxCount == 0 {
			own.MaxCount = category.MaxCount
		}
		return version < own.TruncateBefore || own.MaxAge > 0 && recorded.Before(w.s.clock.Now().Add(-own.MaxAge)) ||
			own.MaxCount > 0 && version+own.MaxCount <= last[name]
	}
	for _, e := range log {
		at, there := recorded[e.ID] // a scavenge has removed the events of some links
		if expired(e.Stream, e.Version, e.Recorded) || !there || !e.Link.IsZero() && expired(e.Link.Stream, e.Link.Version, at) {
			continue
		}
		left = append(left, e)
	}
	return left
}

// compare compares what can be read of streams with the model.
func (w *agingWalk) compare(names ...string) {
	s, left := w.s, w.left()
	of := func(name string) (ids []core.ID) {
		for _, e := range left {
			if e.Stream == name || name == core.All && e.Link.IsZero() {
				ids = append(ids, e.ID)
			}
		}
		return ids
	}
	n := 1 + w.rand.IntN(7)
	for _, name := range names {
		if name != core.All && w.version(name) == 0 {
			continue
		}
		want := of(name)
		w.same(name, "read", eventIDs(s.readFrom(core.ReadRequest{Stream: name, Limit: limit(n)})), want)
		w.same(name, "read backward", eventIDs(s.readFrom(core.ReadRequest{Stream: name, Backward: true, Limit: limit(n)})), reversed(want))
		selected := core.Selection{Filter: core.Filter{Types: []string{"test*"}}}
		w.same(name, "selected", eventIDs(s.readFrom(core.ReadRequest{Stream: name, Select: selected, Limit: limit(n)})), want)
		w.same(name, "selected backward", eventIDs(s.readFrom(core.ReadRequest{Stream: name, Select: selected, Backward: true, Limit: limit(n)})), reversed(want))
		r := s.follow(core.FollowRequest{Stream: name})
		r.untilLive()
		_ = r.follower.Close()
		w.same(name, "followed", r.got, want)
	}
	w.compareEvents(left)
}

// compareEvents looks events up by their ids.
func (w *agingWalk) compareEvents(left []core.Event) {
	for _, e := range w.log() {
		if !e.Link.IsZero() || w.rand.IntN(4) > 0 {
			continue
		}
		_, err := w.s.node.Event(w.s.ctx, e.ID)
		there := slices.ContainsFunc(left, func(l core.Event) bool { return l.Link.IsZero() && l.ID == e.ID })
		if there != (err == nil) || err != nil && !errors.Is(err, core.CodeEventNotFound) {
			w.s.Errorf("event %d of %s: %v, is it left: %v", e.Version, e.Stream, err, there)
		}
	}
}

func (w *agingWalk) same(name, what string, got, want []core.ID) {
	w.s.Helper()
	if !slices.Equal(got, want) {
		w.s.Errorf("%s %s: %d events, want %d; policies %s", what, name, len(got), len(want), fmt.Sprint(w.policies))
	}
}
