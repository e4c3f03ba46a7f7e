package postgres

import "github.com/gyre-events/gyre/core"

// bounds are the versions, or revisions, that something may be at: those from
// low to high.
type bounds struct{ low, high uint64 }

var (
	anything = bounds{0, core.MaxNumber}
	nothing  = bounds{1, 0}
)

func exactly(n uint64) bounds { return bounds{n, n} }

func (b bounds) empty() bool { return b.low > b.high }

// narrow is what is left of b if x has to hold for the number that is add
// greater.
func (b bounds) narrow(x core.Expect, add uint64) bounds {
	switch x {
	case core.AnyVersion:
		return b
	case core.StreamExists:
		if add == 0 {
			b.low = max(b.low, 1)
		}
		return b
	case core.NoStream:
		x = 0
	}
	if uint64(x) < add {
		return nothing
	}
	n := uint64(x) - add
	return bounds{max(b.low, n), min(b.high, n)}
}
