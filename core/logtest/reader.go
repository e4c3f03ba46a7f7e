package logtest

import (
	"context"
	"fmt"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// reader is a follow and what it returned so far. It checks each Delivery.
type reader struct {
	s        *suite
	follower core.Follower
	limit    core.Limit

	got   []core.ID
	last  core.Delivery
	begun bool
}

// follow starts a reader; it is closed with the test.
func (s *suite) follow(f core.FollowRequest) *reader {
	s.Helper()
	follower, err := s.log.Follow(s.ctx, f)
	if err != nil {
		s.Fatalf("follow %+v: %v", f, err)
	}
	s.Cleanup(func() { _ = follower.Close() })
	return &reader{s: s, follower: follower, limit: limit(100)}
}

// next takes one Delivery.
func (r *reader) next(ctx context.Context) (core.Delivery, error) {
	d, err := r.follower.Next(ctx, r.limit)
	if err != nil {
		return d, err
	}
	return d, r.take(d)
}

func (r *reader) take(d core.Delivery) error {
	if d.Count > r.limit.Events || d.Count > 1 && len(d.Block) > r.limit.Bytes {
		return fmt.Errorf("%d events of %d bytes, the limit is %+v", d.Count, len(d.Block), r.limit)
	}
	if d.Cursor < r.last.Cursor || d.Head < d.Cursor || d.Head < r.last.Head {
		return fmt.Errorf("cursor %d, head %d after cursor %d, head %d", d.Cursor, d.Head, r.last.Cursor, r.last.Head)
	}
	last, n := r.last.Cursor, 0
	for e := range d.Events() {
		if e.Position <= last || e.Position > d.Cursor {
			return fmt.Errorf("position %d after %d, cursor %d", e.Position, last, d.Cursor)
		}
		last = e.Position
		n++
		r.got = append(r.got, e.ID)
	}
	if n != d.Count {
		return fmt.Errorf("%d events, said to be %d", n, d.Count)
	}
	if r.begun && n == 0 && d.Live == r.last.Live && d.Cursor == r.last.Cursor {
		return fmt.Errorf("nothing is new: %+v after %+v", d, r.last)
	}
	r.last, r.begun = d, true
	return nil
}

// until takes Deliveries until done.
func (r *reader) until(ctx context.Context, done func() bool) error {
	for !done() {
		if _, err := r.next(ctx); err != nil {
			return fmt.Errorf("next, after %d events: %w", len(r.got), err)
		}
	}
	return nil
}

// untilLive takes Deliveries until one is live and everything up to its head is
// there.
func (r *reader) untilLive() {
	r.s.Helper()
	if err := r.until(r.s.ctx, func() bool { return r.begun && r.last.Live && r.last.Lag() == 0 }); err != nil {
		r.s.Fatal(err)
	}
}

// gets checks that exactly these come next.
func (r *reader) gets(want ...core.ID) {
	r.s.Helper()
	if err := r.collect(r.s.ctx, want); err != nil {
		r.s.Fatal(err)
	}
}

func (r *reader) collect(ctx context.Context, want []core.ID) error {
	if err := r.until(ctx, func() bool { return len(r.got) >= len(want) }); err != nil {
		return fmt.Errorf("%w, want %d", err, len(want))
	}
	got := r.got
	r.got = nil
	if slices.Equal(got, want) {
		return nil
	}
	i := 0
	for i < len(want) && got[i] == want[i] {
		i++
	}
	return fmt.Errorf("%d events, want %d; they differ from number %d on", len(got), len(want), i+1)
}

// refusesFollow checks that a follow cannot start, and answers why.
func (s *suite) refusesFollow(f core.FollowRequest, code core.Code) {
	s.Helper()
	follower, err := s.log.Follow(s.ctx, f)
	if err == nil {
		defer func() { _ = follower.Close() }()
		_, err = follower.Next(s.ctx, limit(10))
	}
	s.refused(err, code)
}
