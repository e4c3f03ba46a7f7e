package wire

import (
	"time"

	"github.com/gyre-events/gyre/core"
)

// Retention is a policy of retention: the body of a request that sets it. A field that is left
// out is no bound.
type Retention struct {
	MaxAgeMs       *int64 `json:"maxAgeMs,omitzero"`
	MaxCount       *int64 `json:"maxCount,omitzero"`
	TruncateBefore *int64 `json:"truncateBefore,omitzero"`
}

// NewRetention is r as the API has it.
func NewRetention(r core.Retention) Retention {
	number := func(n uint64) *int64 {
		if n == 0 {
			return nil
		}
		v := int64(n)
		return &v
	}
	return Retention{number(uint64(r.MaxAge.Milliseconds())), number(r.MaxCount), number(r.TruncateBefore)}
}

// newRetention is NewRetention, nil if nothing expires.
func newRetention(r core.Retention) *Retention {
	if r.IsZero() {
		return nil
	}
	w := NewRetention(r)
	return &w
}

// Core is the inverse of NewRetention. The error is invalid_retention of a number that is no bound.
func (r Retention) Core() (core.Retention, error) {
	number := func(name string, n *int64, most int64) (int64, error) {
		switch {
		case n == nil:
			return 0, nil
		case *n < 1 || *n > most:
			return 0, core.Errorf(core.CodeInvalidRetention, "%s %d is not between 1 and %d", name, *n, most)
		}
		return *n, nil
	}
	age, err := number("maxAgeMs", r.MaxAgeMs, core.MaxRetentionAge.Milliseconds())
	if err != nil {
		return core.Retention{}, err
	}
	count, err := number("maxCount", r.MaxCount, core.MaxNumber)
	if err != nil {
		return core.Retention{}, err
	}
	before, err := number("truncateBefore", r.TruncateBefore, core.MaxNumber)
	return core.Retention{MaxAge: time.Duration(age) * time.Millisecond, MaxCount: uint64(count), TruncateBefore: uint64(before)}, err
}

// RetentionPolicy is a policy of a stream or of a category, as it is stored.
type RetentionPolicy struct {
	Stream    string `json:"stream,omitzero"`
	Category  string `json:"category,omitzero"`
	Retention `json:",inline"`
	Revision  uint64 `json:"revision"`
}

// NewRetentionPolicy is p as the API has it.
func NewRetentionPolicy(p *core.RetentionInfo) RetentionPolicy {
	return RetentionPolicy{p.Target.Stream, p.Target.Category, NewRetention(p.Retention), p.Revision}
}

// Core is the inverse of NewRetentionPolicy.
func (p *RetentionPolicy) Core() (core.RetentionInfo, error) {
	r, err := p.Retention.Core()
	return core.RetentionInfo{Target: core.RetentionTarget{Stream: p.Stream, Category: p.Category}, Retention: r, Revision: p.Revision}, err
}

// RetentionPage is a page of policies.
type RetentionPage struct {
	Policies []RetentionPolicy `json:"policies"`
	Cursor   string            `json:"cursor,omitzero"` // of the next page
	End      bool              `json:"end"`
}
