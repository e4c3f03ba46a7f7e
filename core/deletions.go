package core

import "context"

// DeletionWatcher is implemented by a Log's Store. It serves those that keep events in memory that
// they have read of a stream: while it is deleted, it has none.
type DeletionWatcher interface {
	// Deletions counts how often a stream may have been deleted, or undeleted. When a Commit that
	// does that is answered, the count has risen.
	Deletions() uint64
	// AwaitDeletion waits until the count is greater than after, and returns it. The error is
	// ctx's, or store_closed.
	AwaitDeletion(ctx context.Context, after uint64) (uint64, error)
	// MayBeDeleted reports whether a stream may have been deleted, or undeleted, since Deletions
	// returned since.
	MayBeDeleted(stream string, since uint64) bool
}

var _ DeletionWatcher = (*Store)(nil)

// Deletions is DeletionWatcher.Deletions.
func (s *Store) Deletions() uint64 { return s.tail.deletions.count.Load() }

// AwaitDeletion is DeletionWatcher.AwaitDeletion.
func (s *Store) AwaitDeletion(ctx context.Context, after uint64) (uint64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(context.Cause(s.closing)) })()
	return s.tail.deletions.await(ctx, after, nil)
}

// MayBeDeleted is DeletionWatcher.MayBeDeleted.
func (s *Store) MayBeDeleted(stream string, since uint64) bool {
	streams, _, known := s.tail.deletions.since(since)
	_, has := streams[stream]
	return has || !known
}
