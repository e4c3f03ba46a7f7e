package core

import (
	"context"
	"errors"
)

// RemoveSnapshots adds to c the RecordOps that delete the snapshots of the streams whose events
// c removes: both are removed together, or nothing is. One that is recorded after this and before
// c is of an incarnation that nothing reads; RemoveLateSnapshots deletes it.
func RemoveSnapshots(ctx context.Context, r RecordReader, c *Commit) error {
	if !c.Removes() {
		return nil
	}
	if err := c.Validate(); err != nil {
		return err
	}
	ops := append([]RecordOp(nil), c.Records...)
	for i := range c.Streams {
		if !c.Streams[i].Action.Removes() {
			continue
		}
		var err error
		if ops, err = removeSnapshots(ctx, r, c.Streams[i].Stream, ops); err != nil {
			return err
		}
	}
	c.Records = ops
	return nil
}

// Removes reports whether c removes events.
func (c *Commit) Removes() bool {
	for i := range c.Streams {
		if c.Streams[i].Action.Removes() {
			return true
		}
	}
	return false
}

// removeSnapshots appends to ops what deletes the snapshots of a stream. Each is put, so that
// its revisions go on (SnapshotsTable), and expects AnyVersion, so that none conflicts.
func removeSnapshots(ctx context.Context, r RecordReader, stream string, ops []RecordOp) ([]RecordOp, error) {
	q := RecordsRequest{Table: SnapshotsTable, Prefix: snapshotKey(stream, ""), Limit: listSnapshotsAtOnce}
	for {
		found, err := r.Records(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range found {
			q.After = found[i].Key
			if isSnapshotDeleted(&found[i]) {
				continue
			}
			if len(ops) == MaxCommitRecords {
				e := Errorf(CodeCommitTooLarge, "the streams to remove have more than %d snapshots and policies", MaxCommitRecords)
				e.Stream, e.Limit = stream, MaxCommitRecords
				return nil, e
			}
			ops = append(ops, RecordOp{Table: SnapshotsTable, Key: found[i].Key, Expect: AnyVersion, Value: []byte{snapshotDeleted}})
		}
		if len(found) < q.Limit {
			return ops, nil
		}
	}
}

// lateTries is how often RemoveLateSnapshots looks again when a snapshot was recorded meanwhile.
const lateTries = 3

// RemoveLateSnapshots deletes the snapshots of incarnations that c has removed, which were recorded
// while RemoveSnapshots and c were under way. It is called when c is written.
func RemoveLateSnapshots(ctx context.Context, s SnapshotStore, c *Commit) (err error) {
	for range lateTries {
		var ops []RecordOp
		for i := range c.Streams {
			if !c.Streams[i].Action.Removes() {
				continue
			}
			if ops, err = lateSnapshots(ctx, s, c.Streams[i].Stream, ops); err != nil {
				return err
			}
		}
		if len(ops) == 0 {
			return nil
		}
		if _, err = s.Append(ctx, Commit{Records: ops}); !errors.Is(err, CodeRecordConflict) {
			return err
		}
	}
	return err
}

// lateSnapshots appends to ops what deletes the snapshots of a stream's earlier incarnations, as
// many as there is room for.
func lateSnapshots(ctx context.Context, s SnapshotReader, stream string, ops []RecordOp) ([]RecordOp, error) {
	q := RecordsRequest{Table: SnapshotsTable, Prefix: snapshotKey(stream, ""), Limit: listSnapshotsAtOnce}
	for {
		found, err := s.Records(ctx, q)
		if err != nil || len(found) == 0 {
			return ops, err
		}
		stale, err := staleSnapshots(ctx, s, found)
		if err != nil {
			return ops, err
		}
		ops = append(ops, stale[:min(len(stale), MaxCommitRecords-len(ops))]...)
		if len(found) < q.Limit {
			return ops, nil
		}
		q.After = found[len(found)-1].Key
	}
}

// RemoveStaleSnapshots deletes the snapshots of all incarnations that are removed: those that
// RemoveLateSnapshots did not come to, because its process or its storage failed. pace bounds how
// much is read.
func RemoveStaleSnapshots(ctx context.Context, s SnapshotStore, pace *Pace) error {
	q := RecordsRequest{Table: SnapshotsTable, Limit: listSnapshotsAtOnce}
	for tries := 0; ; {
		found, err := s.Records(ctx, q)
		if err != nil || len(found) == 0 {
			return err
		}
		ops, err := staleSnapshots(ctx, s, found)
		if err == nil && len(ops) > 0 {
			_, err = s.Append(ctx, Commit{Records: ops})
		}
		if tries++; tries < lateTries && errors.Is(err, CodeRecordConflict) {
			continue // a snapshot was recorded meanwhile
		} else if err != nil {
			return err
		}
		bytes := 0
		for i := range found {
			bytes += len(found[i].Value)
		}
		if err := pace.Pay(ctx, int64(bytes)); err != nil || len(found) < q.Limit {
			return err
		}
		q.After, tries = found[len(found)-1].Key, 0
	}
}

// staleSnapshots returns what deletes those of some records that are of earlier incarnations of
// their streams. The records are in the order of their keys.
func staleSnapshots(ctx context.Context, r SnapshotReader, found []Record) (ops []RecordOp, err error) {
	stream, present, known := "", uint32(0), false
	for i := range found {
		kept, err := decodeSnapshot(&found[i])
		if err != nil {
			return nil, err
		}
		if kept == nil || kept.Incarnation == 0 {
			continue
		}
		if stream != kept.Stream {
			stream = kept.Stream
			present, err = presentIncarnation(ctx, r, stream)
			if known = !errors.Is(err, CodeStreamDeleted); known && err != nil && !errors.Is(err, CodeStreamTombstoned) {
				return nil, err
			}
		}
		if known && kept.Incarnation != present { // a deleted stream has events
			ops = append(ops, RecordOp{Table: SnapshotsTable, Key: found[i].Key, Expect: Expect(found[i].Revision), Value: []byte{snapshotDeleted}})
		}
	}
	return ops, nil
}
