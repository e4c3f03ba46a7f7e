package ringtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
)

// Span is a part of a run.
type Span struct{ From, To time.Duration }

// contains reports whether the other Span is within s.
func (s Span) contains(other Span) bool { return s.From <= other.From && other.To <= s.To }

// CheckClosed checks that a node answered nothing but errors to calls that began and ended
// while its gate was closed. closed are the spans of each node.
func (h *History) CheckClosed(closed map[string][]Span) error {
	var f faults
	check := func(node, what string, call Span) {
		for _, span := range closed[node] {
			if span.contains(call) {
				f.add("%s answered %s between %v and %v, and its gate was closed from %v to %v", node, what, call.From, call.To, span.From, span.To)
			}
		}
	}
	for _, a := range h.Appends {
		var refusal *core.Error
		if a.Err == nil || errors.As(a.Err, &refusal) && refusal.Code == core.CodeWrongExpectedVersion {
			check(a.Node, fmt.Sprintf("append %d", a.Number), Span{a.Invoked, a.Returned})
		}
	}
	for _, r := range h.Reads {
		check(r.Node, "a read of "+r.Stream, Span{r.Invoked, r.Returned})
	}
	return f.err()
}

// CheckHolders checks that no slot is held by two of the nodes, by their States of one moment.
func CheckHolders(states map[string]*cluster.State, slots []int, now time.Time) error {
	var f faults
	nodes := slices.Sorted(maps.Keys(states))
	for _, slot := range slots {
		holder := ""
		for _, node := range nodes {
			if !states[node].Holds(slot, now) {
				continue
			}
			if holder != "" {
				f.add("slot %d is held by %s and %s", slot, holder, node)
			}
			holder = node
		}
	}
	return f.err()
}
