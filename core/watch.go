package core

import (
	"context"
	"sync"
	"time"
)

// Bounds of filling the tail with what others wrote.
const (
	// fillWithin is how long the tail waits for missing events before it restarts. A
	// restart sends every waiting follower to storage: with thousands of them that costs
	// far more than a slow page, and slows the next one.
	fillWithin = 2 * time.Second
	// fillEvents is the largest gap that is filled: beyond it, storage is as fast.
	fillEvents = 16 * 1024
	// ownGrace is how long to wait for steps of our own when storage reports a new
	// head: it is probably theirs.
	ownGrace = 5 * time.Millisecond
)

// watch keeps a Store's tail up to date with a log that has other writers. It works only
// while there are followers. newWatch starts its goroutines; the Store's closing ends
// them, and wait returns when they are gone.
//
//	step of our own ──► tail ──gap──► fillGaps ──┐
//	others' ──► storage ──head──► watchHead ─────┴─► fill: page from storage ──► tail
type watch struct {
	store   *Store
	log     HeadWatcher
	running sync.WaitGroup
	// begun has room for one: somebody follows.
	begun chan struct{}
	// filling has room for one: a fill is under way.
	filling chan struct{}
	heads   headReads
}

func newWatch(s *Store, log HeadWatcher) *watch {
	w := &watch{store: s, log: log, begun: make(chan struct{}, 1), filling: make(chan struct{}, 1), heads: makeHeadReads()}
	s.tail.share(func() bool { return s.followers.Load() > 0 })
	w.running.Go(w.watchHead)
	w.running.Go(w.fillGaps)
	return w
}

func (w *watch) wait() { w.running.Wait() }

// prepare is called before a follow begins, with the log's head as just read.
func (w *watch) prepare(head uint64) {
	w.store.recognize()
	if w.store.followers.Load() == 0 {
		w.skipTo(head) // nobody waits for the events between
	}
}

// skipTo is tail.skipTo. What was removed meanwhile is known then.
func (w *watch) skipTo(head uint64) {
	t := w.store.tail
	if _, end := t.place(); end < head {
		w.store.policies.change()
	}
	t.skipTo(head)
	if t.notePassed() {
		w.store.policies.change()
	}
}

// follow is called when a follow has been counted.
func (w *watch) follow() {
	select {
	case w.begun <- struct{}{}:
	default:
	}
}

// watchHead waits for other writers' events while there are followers.
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

// learn brings the tail to a head that another writer may have made.
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

// fillGaps reads the events that are missing between steps of our own.
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

// fill reads the events that the tail lacks up to a position. If that takes too long,
// the tail restarts.
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
	defer w.skipTo(to)
	for {
		_, end := t.place()
		if end >= to || to-end > fillEvents {
			return
		}
		page, err := w.store.engine.ReadLog(ctx, end+1, Limit{Events: MaxReadEvents, Bytes: MaxPageBytes})
		if err != nil || page.End && page.Head < to {
			return
		}
		if has, _ := page.notices(); has {
			w.store.policies.change()
		}
		t.fill(page)
	}
}

// CatchUp has the Store know what other writers have removed, and which policies they have put,
// before it was called: Removals counts it, and nothing that was read before is in the tail. The
// errors are those of storage, of ctx, and store_closed.
func (s *Store) CatchUp(ctx context.Context) error {
	if s.watch == nil {
		return nil
	}
	state, err := s.freshState(ctx)
	if err != nil {
		return err
	}
	s.recognize()
	s.policies.change()
	for {
		if _, end := s.tail.place(); end >= state.Head {
			s.watch.skipTo(state.Head)
			return nil
		}
		switch {
		case ctx.Err() != nil:
			return AsError(context.Cause(ctx))
		case s.closing.Err() != nil:
			return context.Cause(s.closing)
		}
		s.watch.fill(ctx, state.Head)
	}
}

// recognize reports whether the log still has the tail's identity. If not, a fail-over
// may have lost its newest events: the tail restarts, and all follows end.
func (s *Store) recognize() bool {
	state := s.engine.State()
	return s.tail.keep(state.Log, state.Head)
}

// freshState returns the engine's state. If the log has other writers, it reads the head.
func (s *Store) freshState(ctx context.Context) (State, error) {
	if s.watch == nil {
		return s.engine.State(), nil
	}
	head, err := s.watch.heads.share(ctx, func(ctx context.Context) (uint64, error) {
		page, err := s.engine.Read(ctx, ReadRequest{Stream: All, Backward: true, Limit: Limit{Events: 1, Bytes: 1}})
		return page.Head, err
	})
	if err != nil {
		return State{}, err
	}
	state := s.engine.State()
	state.Head = max(state.Head, head)
	return state, nil
}

// checkLog returns log_changed if the log has another identity now.
func (s *Store) checkLog(log string) error {
	if s.watch == nil {
		return nil
	}
	if now := s.engine.State().Log; now != log {
		return Errorf(CodeLogChanged, "the follow is of log %q, this is log %q now", log, now)
	}
	return nil
}
