package requests

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

func newTestGates(t *testing.T, l Limits) *Gates {
	t.Helper()
	l = l.WithDefaults()
	g, err := NewGates(&l, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// admitted is how many of n requests of a Share a Gate lets in.
func admitted(t *testing.T, g *Gate, s *Share, n int) (count int) {
	t.Helper()
	for range n {
		err := g.Enter(s)
		if err == nil {
			count++
		} else if e := core.AsError(err); e.Code != core.CodeOverloaded || e.RetryAfter <= 0 {
			t.Fatalf("refused with %v, %v", err, e.RetryAfter)
		}
	}
	return count
}

// TestGateIsShared: who takes all that it can leaves room for others, who share what is left.
func TestGateIsShared(t *testing.T) {
	g := newTestGates(t, Limits{Load: Load{Requests: 300}})
	hog, newcomer, third := g.Of(access.Node("hog"), ""), g.Of(access.Node("newcomer"), ""), g.Of(access.Node("third"), "")
	for _, c := range []struct {
		share *Share
		want  int
	}{{hog, 200}, {newcomer, 67}, {third, 22}, {hog, 0}, {nil, 500}} {
		if n := admitted(t, &g.Requests, c.share, 500); n != c.want {
			t.Errorf("%d of 500 are admitted, want %d", n, c.want)
		}
	}
	for range 200 {
		g.Requests.Leave(hog, time.Time{})
	}
	if n := admitted(t, &g.Requests, third, 500); n != 134 {
		t.Errorf("%d more are admitted when there is room again, want 134", n)
	}
	if used := g.Requests.used.Load(); used != 67+22+134 {
		t.Errorf("%d are in flight", used)
	}
}

// TestSharesOfPrincipals: a key has one Share over all its connections; without keys each
// connection has its own.
func TestSharesOfPrincipals(t *testing.T) {
	g := newTestGates(t, Limits{})
	key := access.Sent("n2", "key-1", access.Writer, nil, nil)
	a, b := g.Of(key, "192.0.2.1:1"), g.Of(access.Sent("", "key-1", access.Writer, nil, nil), "192.0.2.2:2")
	if a != b {
		t.Error("one key has two Shares")
	}
	anyone := access.Anyone(t.Context())
	c, d := g.Of(anyone, "192.0.2.1:1"), g.Of(anyone, "192.0.2.1:2")
	if c == d || c != g.Of(access.Nobody(), "192.0.2.1:1") {
		t.Error("Shares without keys are not those of connections")
	}
	for _, s := range []*Share{a, b, c, c, d} {
		s.Release()
	}
	if len(g.all) != 0 {
		t.Errorf("%d Shares are kept that nobody uses", len(g.all))
	}
}

// TestGateAdapts: a node that answers 30 a millisecond, whatever is asked of it, lets in what it
// answers within the target, and everything again when it is asked for less. Time is virtual.
func TestGateAdapts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGates(t, Limits{})
		gate, s := &g.Appends, g.Of(access.Node("a"), "")
		others := g.Of(access.Node("b"), "")
		type request struct {
			share *Share
			begun time.Time
		}
		var queue []request
		run := func(lasts time.Duration, arrive int) (worst time.Duration, refused int) {
			for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(time.Millisecond) {
				for i := range arrive {
					share := s
					if i%2 == 1 {
						share = others
					}
					if errors.Is(gate.Enter(share), core.CodeOverloaded) {
						refused++
					} else {
						queue = append(queue, request{share, time.Now()})
					}
				}
				for range min(30, len(queue)) {
					worst = max(worst, time.Since(queue[0].begun))
					gate.Leave(queue[0].share, queue[0].begun)
					queue = queue[1:]
				}
			}
			return worst, refused
		}
		if worst, refused := run(time.Second, 29); refused > 0 || worst > time.Millisecond {
			t.Errorf("%d are refused of what can be answered, the slowest took %v", refused, worst)
		}
		if _, refused := run(time.Second, 150); refused < 100_000 {
			t.Errorf("%d are refused at five times what can be answered", refused)
		}
		// The target is 10 ms, and the limit grows by an eighth before it is looked at again.
		if worst, _ := run(5*time.Second, 150); worst > 25*time.Millisecond {
			t.Errorf("an admitted one took %v", worst)
		}
		run(3*time.Second, 20)
		if worst, refused := run(time.Second, 29); refused > 0 || worst > time.Millisecond || gate.limit.Load() != gate.most {
			t.Errorf("afterwards %d are refused, the slowest took %v, the limit is %d", refused, worst, gate.limit.Load())
		}
	})
}

// TestGateLimit: when a window is over.
func TestGateLimit(t *testing.T) {
	g := newTestGates(t, Limits{})
	for _, c := range []struct {
		name                    string
		limit, used, done, slow int64
		want                    int64
	}{
		{"in time", 1000, 900, 5000, 2500, 1125},
		{"in time, at the most", 4096, 900, 5000, 0, 4096},
		{"late for the first time", 4096, 4000, 8000, 4001, 4096},
		{"late", 4096, 4000, 8000, 4001, 800},
		{"late, and grows no more", 500, 500, 8000, 8000, 500},
		{"late, and room for one connection is left", 4096, 4000, 10, 10, 384},
		{"late without a queue", 384, 100, 10, 10, 432},
		{"nothing", 384, 0, 0, 0, 432},
	} {
		g.Appends.limit.Store(c.limit)
		if got := g.Appends.next(c.used, c.done, c.slow, 100*time.Millisecond); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestShareOutlivesItsUser: who leaves and comes again has what is in flight all the same.
func TestShareOutlivesItsUser(t *testing.T) {
	limits := Limits{}
	limits.Load.Requests = 30
	gates := newTestGates(t, limits)
	p := &access.Principal{Name: "k", Role: access.Writer}
	first := gates.Of(p, "")
	for range 20 {
		if err := gates.Requests.Enter(first); err != nil {
			t.Fatal(err)
		}
	}
	first.Release()
	again := gates.Of(p, "")
	if err := gates.Requests.Enter(again); err == nil {
		t.Fatal("a new connection forgot 20 requests in flight")
	}
	for range 20 {
		gates.Requests.Leave(first, time.Time{})
	}
	again.Release()
	if err := gates.Requests.Enter(gates.Of(p, "")); err != nil {
		t.Fatalf("after the last answer: %v", err)
	}
}
