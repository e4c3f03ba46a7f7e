package enginetest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
	"github.com/gyre-events/gyre/core/memory"
)

// TestRunDurable runs the suite over folders that are no more than names: a closed
// engine lives on under its folder's.
func TestRunDurable(t *testing.T) {
	var mu sync.Mutex
	folders := make(map[string]*memory.Engine)
	enginetest.RunDurable(t, func(t testing.TB, dir string) core.Engine {
		mu.Lock()
		defer mu.Unlock()
		if folders[dir] == nil {
			folders[dir] = memory.New()
		}
		return &folder{Engine: folders[dir]}
	})
}

// folder is an engine whose Close closes nothing but itself.
type folder struct {
	*memory.Engine
	mu     sync.Mutex
	closed bool
}

func (f *folder) Commit(ctx context.Context, group []*core.Commit) core.Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return core.FailStep(group, core.CodeStoreClosed)
	}
	return f.Engine.Commit(ctx, group)
}

func (f *folder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}
