package subscriptions

import (
	"context"
	"sync"
)

// checkpointer runs the savers that have something to store. It is one goroutine for all
// those of an Owner: none waits for another's Commit, only for room in the Store's queue.
type checkpointer struct {
	work chan struct{} // holds 1: there is a saver in line

	mu   sync.Mutex // protects line, and saver.inLine
	line []*saver
}

func makeCheckpointer() checkpointer { return checkpointer{work: make(chan struct{}, 1)} }

// add puts a saver in line, unless it is there already.
func (k *checkpointer) add(s *saver) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !s.inLine {
		s.inLine = true
		k.line = append(k.line, s)
		wake(k.work)
	}
}

// take moves all in line to into.
func (k *checkpointer) take(into []*saver) []*saver {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.line {
		s.inLine = false
	}
	into, k.line = k.line, into[:0]
	return into
}

// run runs the savers in line until ctx ends.
func (k *checkpointer) run(ctx context.Context) {
	var savers []*saver
	for {
		select {
		case <-k.work:
		case <-ctx.Done():
			return
		}
		savers = k.take(savers)
		for _, s := range savers {
			s.step()
		}
		clear(savers)
	}
}
