package runtime

import (
	"context"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins/judge"
)

// judges are the plugins that subscriptions may name. Subscriptions are opened before plugins:
// until those are, and where a node runs none, no definition can have one.
type judges struct{ of atomic.Pointer[judge.Judges] }

// Hold is subscriptions.Judges.Hold.
func (s *judges) Hold(ctx context.Context, j subscriptions.Judge) (core.RecordOp, error) {
	of, err := s.opened()
	if err != nil {
		return core.RecordOp{}, err
	}
	return of.Hold(ctx, j)
}

// Open is subscriptions.Judges.Open.
func (s *judges) Open(j subscriptions.Judge) (subscriptions.Program, error) {
	of, err := s.opened()
	if err != nil {
		return nil, err
	}
	return of.Open(j)
}

func (s *judges) opened() (*judge.Judges, error) {
	if of := s.of.Load(); of != nil {
		return of, nil
	}
	return nil, core.Errorf(core.CodeNotSupported, "this node runs no plugins, so no subscription can have one; start it without --no-plugins")
}
