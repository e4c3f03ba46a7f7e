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
// not_supported for a definition with plugins if judges is nil.
func NewPicker(d *Definition, compile Compiler, judges Judges) (*Picker, error) {
	s, err := newSelector(d, &Config{Compile: compile, Judges: judges})
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

// Compiler is that of the Owner's expressions; nil if there are none.
func (o *Owner) Compiler() Compiler { return o.config.Compile }
