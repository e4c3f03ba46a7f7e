package subscriptions

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Picker picks what a definition of a bound subscription delivers of the events of its stream, for
// who reads these without a subscription. It belongs to one goroutine, which closes it.
type Picker struct {
	selector *selector
	filter   core.Filter
}

// NewPicker returns the Picker of a definition. The errors are those of a Compiler, and
// not_supported for what programs does not have.
func NewPicker(d *Definition, programs Programs) (*Picker, error) {
	s, err := newSelector(d, programs)
	if err != nil {
		return nil, err
	}
	i := incarnation{Definition: *d, Bound: true}
	return &Picker{selector: s, filter: i.filter()}, nil
}

// Filter is what the events are to be read with.
func (s *Picker) Filter() core.Filter { return s.filter }

// Items appends what is delivered of the first events of a batch, and returns the rest of the
// batch. The items keep the batch's block in memory.
func (s *Picker) Items(ctx context.Context, dst []delivery.Item, b core.Batch) (_ []delivery.Item, rest core.Batch, err error) {
	return s.selector.items(ctx, dst, b)
}

// Close frees the compiled expressions.
func (s *Picker) Close() error { return s.selector.close() }

// Programs are those of the Owner.
func (o *Owner) Programs() Programs { return Programs{o.config.Compile, o.config.Judges} }
