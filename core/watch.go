package core

import (
	"context"
	"sync"
	"time"
)

// Bounds of filling the tail with what others wrote.
const (
	// fillWithin is how long the tail waits for what is missing before it begins
	// anew and sends everybody to storage.
	fillWithin = 50 * time.Millisecond
	// fillEvents is how much may be missing: beyond it, storage is as fast.
	fillEvents = 16 * 1024
	// ownGrace is how long a head that was learnt from storage may turn out to be
	// that of a step of our own which is just coming back.
	ownGrace = 5 * time.Millisecond
)

// watch keeps the tail of a Store up with a log that others write to, too. It
// does something while there are followers, and nothing else. Its goroutines
// are started in newWatch and gone when wait returns; the Store's closing ends
// them.
//
//	step of our own ──► tail ──gap──► fillGaps ──┐
//	others' ──► storage ──head──► watchHead ─────┴─► fill: page from storage ──► tail
type watch struct {
	store   *Store
	log     HeadWatcher
	running sync.WaitGroup
	// begun has room for one: somebody follows.
	begun chan struct{}
	// filling has room for one: somebody reads for the tail.
	filling chan struct{}
}

func newWatch(s *Store, log HeadWatcher) *watch {
	w := &watch{store: s, log: log, begun: make(chan struct{}, 1), filling: make(chan struct{}, 1)}
	s.tail.share(func() bool { return s.followers.Load() > 0 })
	w.running.Go(w.watchHead)
	w.running.Go(w.fillGaps)
	return w
}

func (w *watch) wait() { w.running.Wait() }

// prepare is called before a follow begins. head is the log's, just read.
func (w *watch) prepare(head uint64) {
	w.store.recognize()
	if w.store.followers.Load() == 0 {
		w.store.tail.skipTo(head) // nobody misses what is between
	}
}

// follow is called when a follow has begun and is counted.
func (w *watch) follow() {
	select {
	case w.begun <- struct{}{}:
	default:
	}
}

// watchHead waits for events of others, as long as somebody follows.
func (w *watch) watchHead() {
	ctx := w.store.closing
	for ctx.Err() == nil {
		if w.store.followers.Load() == 0 {
			select {
			case <-w.begun:
			case <-ctx.Done():
			}
			continue
		}
		log, end := w.store.tail.place()
		head, err := w.log.WaitHead(ctx, log, end)
		if err != nil {
			return // the end of the Store or of its engine
		}
		if w.store.recognize() && head > end {
			w.learn(ctx, head)
		}
	}
}

// learn takes the tail to a head that others may have moved to.
func (w *watch) learn(ctx context.Context, head uint64) {
	if w.store.committer.underWay() {
		select {
		case <-time.After(ownGrace):
		case <-ctx.Done():
			return
		}
	}
	w.fill(ctx, head)
}

// fillGaps reads what is missing between steps of our own.
func (w *watch) fillGaps() {
	ctx := w.store.closing
	for {
		select {
		case <-w.store.tail.gaps:
		case <-ctx.Done():
			return
		}
		w.fill(ctx, w.store.tail.missing())
	}
}

// fill reads from storage what the tail lacks up to a position. If that takes
// too long the tail begins anew.
func (w *watch) fill(ctx context.Context, to uint64) {
	select {
	case w.filling <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-w.filling }()
	ctx, cancel := context.WithTimeout(ctx, fillWithin)
	defer cancel()
	t := w.store.tail
	defer t.skipTo(to)
	for {
		_, end := t.place()
		if end >= to || to-end > fillEvents {
			return
		}
		page, err := w.store.engine.ReadLog(ctx, end+1, Limit{Events: MaxReadEvents, Bytes: MaxPageBytes})
		if err != nil || page.End && page.Head < to {
			return
		}
		t.fill(page)
	}
}

// recognize reports whether the log is the one that the tail is of. If not, its
// newest events were lost with a server: the tail begins anew, and all follows
// end.
func (s *Store) recognize() bool {
	state := s.engine.State()
	return s.tail.keep(state.Log, state.Head)
}

// freshState is the engine's state with a head that was just read, where others
// may have moved it.
func (s *Store) freshState(ctx context.Context) (State, error) {
	if s.watch == nil {
		return s.engine.State(), nil
	}
	page, err := s.engine.Read(ctx, ReadRequest{Stream: All, Backward: true, Limit: Limit{Events: 1, Bytes: 1}})
	if err != nil {
		return State{}, err
	}
	state := s.engine.State()
	state.Head = max(state.Head, page.Head)
	return state, nil
}

// checkLog answers log_changed if the log is not the one named, any more.
func (s *Store) checkLog(log string) error {
	if s.watch == nil {
		return nil
	}
	if now := s.engine.State().Log; now != log {
		return Errorf(CodeLogChanged, "the follow is of log %q, this is log %q now", log, now)
	}
	return nil
}
