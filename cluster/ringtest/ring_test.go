package ringtest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// yes is an Arbiter that allows everything.
type yes struct {
	cluster.Arbiter
	sessions uint64
	views    []ring.View
}

func (y *yes) Register(context.Context, string, ring.Member, [32]byte) (uint64, error) {
	y.sessions++
	return y.sessions, nil
}

func (y *yes) Beat(context.Context, uint64, uint64, bool) (ring.Standing, error) {
	return ring.Standing{}, nil
}

func (y *yes) Propose(_ context.Context, base uint64, next ring.View, _ []uint64) error {
	next.Epoch = base + 1
	y.views = append(y.views, next)
	return nil
}

func (y *yes) Leave(context.Context, uint64) error { return nil }

// ringOf is a run with three nodes whose sessions are 1 to 3, and the view of epoch 2.
type ringOf struct {
	t       *testing.T
	arbiter cluster.Arbiter
	answers *yes
	witness *Witness
}

func (r *ringOf) register(node string) ring.Member {
	m := ring.Member{Node: node}
	var err error
	if m.Session, err = r.arbiter.Register(r.t.Context(), "gyre", m, [32]byte{}); err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *ringOf) propose(base, proposer uint64, quorum int, members ...ring.Member) {
	view := ring.View{Members: members, Quorum: quorum, Proposer: proposer}
	if err := r.arbiter.Propose(r.t.Context(), base, view, nil); err != nil {
		r.t.Fatal(err)
	}
}

func (r *ringOf) beat(session uint64) {
	if _, err := r.arbiter.Beat(r.t.Context(), session, 0, false); err != nil {
		r.t.Fatal(err)
	}
}

func TestViews(t *testing.T) {
	a, b, c := ring.Member{Session: 1, Node: "a"}, ring.Member{Session: 2, Node: "b"}, ring.Member{Session: 3, Node: "c"}
	for name, p := range map[string]struct {
		then func(r *ringOf)
		says string
	}{
		"by a member":         {func(r *ringOf) { r.propose(2, 2, 2, a, b) }, ""},
		"an epoch is missing": {func(r *ringOf) { r.propose(3, 2, 2, a, b) }, "has epoch 4"},
		"below quorum":        {func(r *ringOf) { r.propose(2, 2, 2, b) }, "1 members, and the quorum is 2"},
		"a node twice":        {func(r *ringOf) { r.propose(2, 2, 2, a, a, b) }, "a before a"},
		"by an outsider": {func(r *ringOf) {
			d := r.register("d")
			r.propose(2, d.Session, 1, c, d)
		}, "an outsider"},
		"by an outsider, all are dead": {func(r *ringOf) {
			time.Sleep(deadAfter)
			d := r.register("d")
			r.propose(2, d.Session, 1, c, d)
		}, ""},
		"by an outsider, one beats": {func(r *ringOf) {
			time.Sleep(time.Second)
			r.beat(2)
			time.Sleep(deadAfter - time.Second)
			d := r.register("d")
			r.propose(2, d.Session, 1, c, d)
		}, "was there: b"},
		"by an outsider, they left": {func(r *ringOf) {
			for s := range uint64(3) {
				if err := r.arbiter.Leave(t.Context(), s+1); err != nil {
					t.Fatal(err)
				}
			}
			d := r.register("d")
			r.propose(2, d.Session, 1, c, d)
		}, ""},
		"of sessions that are over": {func(r *ringOf) {
			r.register("a")
			time.Sleep(time.Millisecond)
			r.propose(2, 2, 3, a, b, c)
		}, "fewer of its members"},
		"by nobody": {func(r *ringOf) {
			r.answers.views = append(r.answers.views, ring.View{Epoch: 3, Members: []ring.Member{a}, Quorum: 1})
		}, "nobody proposed"},
		"with other people": {func(r *ringOf) { r.answers.views[0].Members = []ring.Member{a, c} }, "nobody proposed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answers, witness := &yes{}, NewWitness()
				r := &ringOf{t, witness.Of(answers), answers, witness}
				r.propose(1, r.register("a").Session, 2, a, r.register("b"), r.register("c"))
				p.then(r)
				wants(t, witness.Check(answers.views, 2), p.says)
			})
		})
	}
}

func TestWriters(t *testing.T) {
	a, b := ring.Member{Session: 1, Node: "a"}, ring.Member{Session: 2, Node: "b"}
	views := []ring.View{{Epoch: 2, Members: []ring.Member{a}}, {Epoch: 3, Members: []ring.Member{a, b}}, {Epoch: 4, Members: []ring.Member{b}}}
	owner, _ := views[1].Owners().Owner(ring.Slot("s"))
	for name, p := range map[string]struct {
		writers [][2]uint64 // session and epoch
		says    string
	}{
		"the owners":          {[][2]uint64{{1, 2}, {owner.Session, 3}, {owner.Session, 3}, {2, 4}}, ""},
		"not the owner":       {[][2]uint64{{1, 2}, {3 - owner.Session, 3}}, "whose owner is"},
		"not any more":        {[][2]uint64{{1, 2}, {1, 4}}, "whose owner is 2"},
		"an epoch that ended": {[][2]uint64{{2, 4}, {1, 2}}, "after one of epoch 4"},
		"no view":             {[][2]uint64{{1, 7}}, "there is no view"},
	} {
		t.Run(name, func(t *testing.T) {
			r := record(t)
			for _, by := range p.writers {
				r.by, r.epoch = by[0], by[1]
				r.append(1, 1, core.AnyVersion, "s")
			}
			r.readLog()
			wants(t, r.h.CheckWriters(views), p.says)
		})
	}
}

func TestClosed(t *testing.T) {
	r := record(t)
	r.append(1, 1, core.AnyVersion, "s") // 1 s to 1.5 s
	r.append(1, 1, 7, "s")               // 2 s to 2.5 s, refused
	r.read("s")                          // 3 s to 3.5 s
	r.append(1, 1, core.AnyVersion, "s").Err = core.Errorf(core.CodeNoNodeAvailable, "below quorum")
	for _, p := range []struct {
		from, to float64
		says     string
	}{
		{0.9, 1.6, "append 1"}, {1.9, 2.6, "append 2"}, {2.9, 3.6, "a read of s"}, {3.6, 9, ""}, {1.1, 1.6, ""}, {0.9, 1.4, ""},
	} {
		span := Span{time.Duration(p.from * float64(time.Second)), time.Duration(p.to * float64(time.Second))}
		wants(t, r.h.CheckClosed(map[string][]Span{"a": {span}}), p.says)
		wants(t, r.h.CheckClosed(map[string][]Span{"b": {span}}), "")
	}
}

func TestDeliveries(t *testing.T) {
	log := []core.Event{{Position: 1}, {Position: 3}, {Position: 4}}
	good := func() Deliveries {
		return Deliveries{
			{"x", "k", 1, 10, 20}, {"y", "l", 3, 15, 18}, {"y", "k", 4, 20, 30},
		}
	}
	for name, p := range map[string]struct {
		change func(d *Deliveries)
		faulty []Span
		says   string
	}{
		"good":                  {func(*Deliveries) {}, nil, ""},
		"one is missing":        {func(d *Deliveries) { *d = (*d)[1:] }, nil, "position 1 was not"},
		"two of a key at once":  {func(d *Deliveries) { (*d)[2].Began = 19 }, nil, "position 4 was handled at y from 19ns, and 1 at x"},
		"in a time of faults":   {func(d *Deliveries) { (*d)[2].Began = 19 }, []Span{{19, 19}}, ""},
		"faults at other times": {func(d *Deliveries) { (*d)[2].Began = 19 }, []Span{{40, 50}}, "position 4 was handled at y from"},
		"a long one":            {func(d *Deliveries) { (*d)[0].Done = 50; (*d)[1].Key = "k" }, nil, "position 4 was handled at y from"},
		"back":                  {func(d *Deliveries) { *d = append(*d, Handled{"x", "k", 1, 40, 50}) }, nil, "position 1 was handled at x after 4"},
	} {
		t.Run(name, func(t *testing.T) {
			d := good()
			p.change(&d)
			err := d.CheckAll(log)
			if err == nil {
				err = d.CheckKeys(p.faulty)
			}
			wants(t, err, p.says)
		})
	}
	wants(t, CheckFollow(log, []uint64{1, 3, 4}), "")
	wants(t, CheckFollow(log, []uint64{1, 4}), "position 4 was followed where 3 is next")
	wants(t, CheckFollow(log, []uint64{1, 3}), "position 4 was not followed")
	wants(t, CheckFollow(log, []uint64{1, 3, 4, 5}), "not in the log")
}
