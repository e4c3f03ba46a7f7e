package expression

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// calls is what calls cost. The library's own figures need the types of arguments when
// an expression is compiled, and data has none then: joining two texts of a megabyte
// would cost as much as adding two numbers.
type calls struct{}

const (
	// bytesPerCost of text that a call reads or makes cost 1.
	bytesPerCost = 10
	// A regular expression costs 1 for so many bytes of text times bytes of pattern,
	// and to compile it patternCost for each of its bytes.
	matchPerCost = 40
	patternCost  = 10
)

// CallCost counts a call when it is done, which is soon enough: what it was given was
// counted before.
func (calls) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	sum := 1 + bytesOf(result)/bytesPerCost
	for _, a := range args {
		sum += bytesOf(a) / bytesPerCost
	}
	switch function {
	case "_==_", "_!=_", "@in":
		for _, a := range args {
			sum += elementsOf(a)
		}
	case "matches":
		if len(args) == 2 {
			text, pattern := bytesOf(args[0]), bytesOf(args[1])
			sum += text*pattern/matchPerCost + pattern*patternCost
		}
	}
	return &sum
}

func bytesOf(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	}
	return 0
}

// elementsOf counts what is compared where v is: all there is in it.
func elementsOf(v ref.Val) (n uint64) {
	switch v := v.(type) {
	case traits.Mapper:
		for it := v.Iterator(); it.HasNext() == types.True; {
			n += 1 + elementsOf(v.Get(it.Next()))
		}
	case traits.Lister:
		for it := v.Iterator(); it.HasNext() == types.True; {
			n += 1 + elementsOf(it.Next())
		}
	default:
		n = bytesOf(v) / bytesPerCost
	}
	return n
}
