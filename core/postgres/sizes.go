package postgres

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
)

// A page is bounded in events and in bytes, and the server is asked for a number of
// rows. To have it add up their sizes first would cost a fifth of a page. So the number
// is a guess, from what the events of the last page took: those of one stream, and
// neighbours in the log, are of one size mostly. Rows that turn out not to fit are thrown
// away, and where more would fit the server is asked again.

// sizeSlots is how many guesses are kept. Streams share them.
const sizeSlots = 256

// sizes are what events take in a page, by the hash of the name that they are read by.
// They are hints.
type sizes struct {
	seed  maphash.Seed
	slots [sizeSlots]atomic.Int64

	selectedRange uint64 // how many positions a query of a selection looks at
}

func newSizes() *sizes { return &sizes{seed: maphash.MakeSeed(), selectedRange: selectedRange} }

func (s *sizes) of(stream string) *atomic.Int64 {
	return &s.slots[maphash.String(s.seed, stream)%sizeSlots]
}

// note remembers what the events of a page take. One that was read alone says little of
// its neighbours.
func (s *sizes) note(r *core.ReadRequest, p *core.Page) {
	if p.Count > 0 && r.Limit.Events > 1 {
		s.of(r.Stream).Store(int64(len(p.Block) / p.Count))
	}
}

// ask is how many rows to ask for to fill what is left of a page.
func (g *gatherer) ask(hint int64) int {
	limit, p := g.request.Limit, &g.page
	if p.Count > 0 {
		hint = int64(len(p.Block) / p.Count)
	}
	n := limit.Events - p.Count
	if hint > 0 {
		// One more says whether another would fit.
		n = min(n, (limit.Bytes-len(p.Block))/int(hint)+1)
	}
	return min(n, maxLimit)
}

// unfilled reports whether the guess was so wrong that less than half of a page came of
// what is there.
func (g *gatherer) unfilled() bool {
	p, limit := &g.page, g.request.Limit
	return !g.cut && g.rows == g.asked && 2*p.Count < limit.Events && 2*len(p.Block) < limit.Bytes && !(g.request.Backward && p.Next <= 1)
}
