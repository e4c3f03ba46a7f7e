package core

import "context"

// RemoveSnapshots adds to c the RecordOps that delete the snapshots of the streams whose events
// c removes: both are removed together, or nothing is. A snapshot that is recorded after this
// and before c is of an incarnation that nothing reads.
func RemoveSnapshots(ctx context.Context, r RecordReader, c *Commit) error {
	if !c.removes() {
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

// removes reports whether c removes events.
func (c *Commit) removes() bool {
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
				e := Errorf(CodeCommitTooLarge, "the streams to remove have more than %d snapshots", MaxCommitRecords)
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
