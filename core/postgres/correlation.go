package postgres

import "github.com/gyre-events/gyre/core"

// correlations are those of the n events that are to be written, in order; nil if
// none has one.
func (p *plan) correlations(n int) []string {
	var ids []string
	i := 0
	p.eachEvent(func(e *core.NewEvent) {
		if id := core.CorrelationOf(e.Metadata); id != "" {
			if ids == nil {
				ids = make([]string, n)
			}
			ids[i] = id
		}
		i++
	})
	return ids
}
