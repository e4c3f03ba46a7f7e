package core

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// RetentionPut replaces a policy. The zero Retention clears it, but for a TruncateBefore that is
// stored: 0 keeps that.
type RetentionPut struct {
	Target RetentionTarget
	Retention
	// Expect is compared with the revision of the policy, which is 0 before the first one.
	Expect Expect
}

// RetentionInfo is a policy as it is stored.
type RetentionInfo struct {
	Target RetentionTarget
	Retention
	Revision uint64
}

// RetentionsRequest asks for a page of the policies.
type RetentionsRequest struct {
	After string // Next of the page before
	Limit int    // 1 … MaxReadEvents; 0 is DefaultReadEvents
}

// RetentionsPage is the answer to a RetentionsRequest: categories, then streams, in the byte
// order of their names. It may have fewer policies than were asked for though it is not the
// last one.
type RetentionsPage struct {
	Policies []RetentionInfo
	Next     string // After of the next page
	End      bool
}

// retentionTries bounds how often a policy is read that others write meanwhile.
const retentionTries = 10

// SetRetention replaces a policy, and returns what is stored then and whether that is something
// else than before. From the answer on, no read of s has what expires by it. Errors:
// invalid_retention, record_conflict if the policy is at another revision, too_many_retentions,
// and those of a read if the stream is deleted or tombstoned.
func SetRetention(ctx context.Context, s SnapshotStore, p RetentionPut) (info RetentionInfo, changed bool, err error) {
	if err := p.validate(); err != nil {
		return RetentionInfo{}, false, err
	}
	for range retentionTries {
		info, changed, err = p.put(ctx, s)
		if !errors.Is(err, CodeRecordConflict) || p.Expect != AnyVersion {
			break
		}
	}
	return info, changed, err
}

func (p *RetentionPut) validate() error {
	if err := p.Target.Validate(); err != nil {
		return err
	}
	if p.Expect < StreamExists || p.Expect > MaxNumber {
		return Errorf(CodeInvalidExpectedVersion, "%d is not an expected revision", int64(p.Expect))
	}
	if p.Target.Stream == "" && p.TruncateBefore > 0 {
		return Errorf(CodeInvalidRetention, "a category has no version to truncate before: that is of a stream")
	}
	return p.Retention.Validate()
}

// put puts the policy once.
func (p *RetentionPut) put(ctx context.Context, s SnapshotStore) (info RetentionInfo, changed bool, err error) {
	now, revision, err := readPolicy(ctx, s, p.Target)
	if err != nil {
		return info, false, err
	}
	if !p.Expect.Holds(revision) {
		e := Errorf(CodeRecordConflict, "the retention of %s is at revision %d, expected %s", p.Target, revision, p.Expect)
		e.Expected, e.Actual = &p.Expect, &revision
		return info, false, e
	}
	next := policy{p.Retention, now.truncatedTo}
	if p.Target.Stream != "" {
		if err := p.truncate(ctx, s, &next, now.TruncateBefore); err != nil {
			return info, false, err
		}
	}
	info = RetentionInfo{Target: p.Target, Retention: next.Retention, Revision: revision}
	if next == now {
		return info, false, nil
	}
	_, err = s.Append(ctx, Commit{Records: []RecordOp{
		{Table: RetentionTable, Key: p.Target.key(), Expect: Expect(revision), Value: next.encode()},
	}})
	info.Revision++
	return info, err == nil, err
}

// truncate sets what next truncates before, which is stored now as another version or as 0.
func (p *RetentionPut) truncate(ctx context.Context, s SnapshotReader, next *policy, stored uint64) error {
	page, err := s.Read(ctx, ReadRequest{Stream: p.Target.Stream, Backward: true, Limit: Limit{Events: 1, Bytes: 1}})
	switch {
	case err != nil && !isNotFound(err):
		return err
	case p.TruncateBefore == 0:
		next.TruncateBefore = stored
	case p.TruncateBefore == stored:
	case p.TruncateBefore < stored:
		e := Errorf(CodeInvalidRetention, "stream %q is truncated before version %d, which does not decrease to %d", Clip(p.Target.Stream), stored, p.TruncateBefore)
		e.Stream, e.Actual = p.Target.Stream, &stored
		return e
	case p.TruncateBefore > page.Version+1:
		e := Errorf(CodeInvalidRetention, "stream %q is at version %d, it cannot be truncated before %d", Clip(p.Target.Stream), page.Version, p.TruncateBefore)
		e.Stream, e.Actual = p.Target.Stream, &page.Version
		return e
	default:
		next.truncatedTo = page.Head
	}
	return nil
}

// readPolicy returns a policy, zero if there is none, and the revision of its record.
func readPolicy(ctx context.Context, r RecordReader, t RetentionTarget) (policy, uint64, error) {
	found, err := r.Records(ctx, RecordsRequest{Table: RetentionTable, Keys: []string{t.key()}, Limit: 1})
	if err != nil || len(found) == 0 {
		return policy{}, 0, err
	}
	p, err := decodePolicy(&found[0])
	return p, found[0].Revision, err
}

// ReadRetention returns the policy of a target; a zero one if there is none.
func ReadRetention(ctx context.Context, r RecordReader, t RetentionTarget) (RetentionInfo, error) {
	if err := t.Validate(); err != nil {
		return RetentionInfo{}, err
	}
	p, revision, err := readPolicy(ctx, r, t)
	return RetentionInfo{Target: t, Retention: p.Retention, Revision: revision}, err
}

// ListRetentions returns a page of the policies.
func ListRetentions(ctx context.Context, r RecordReader, q RetentionsRequest) (RetentionsPage, error) {
	if len(q.After) > MaxStreamNameBytes+len(categoryRetention) || q.After != "" && RetentionTargetOf(q.After).Validate() != nil {
		return RetentionsPage{}, Errorf(CodeInvalidCursor, "%q is not a policy to go on after", Clip(q.After))
	}
	limit := pageLimit(q.Limit)
	found, err := r.Records(ctx, RecordsRequest{Table: RetentionTable, After: q.After, Limit: limit})
	if err != nil {
		return RetentionsPage{}, err
	}
	page := RetentionsPage{End: len(found) < limit}
	for i := range found {
		p, err := decodePolicy(&found[i])
		if err != nil {
			return RetentionsPage{}, err
		}
		page.Next = strings.Clone(found[i].Key)
		if !p.IsZero() {
			page.Policies = append(page.Policies, RetentionInfo{RetentionTargetOf(page.Next), p.Retention, found[i].Revision})
		}
	}
	return page, nil
}

// RemoveRetentions adds to c the RecordOps that clear the policies of the streams whose events
// c removes: both are removed together, or nothing is. Where a stream never had a policy, c expects
// that it still has none: if its first one is put meanwhile, c is refused with record_conflict, and
// this is to be done again.
func RemoveRetentions(ctx context.Context, r RecordReader, c *Commit) error {
	if !c.Removes() {
		return nil
	}
	if err := c.Validate(); err != nil {
		return err
	}
	var keys []string
	for i := range c.Streams {
		if c.Streams[i].Action.Removes() {
			keys = append(keys, RetentionTarget{Stream: c.Streams[i].Stream}.key())
		}
	}
	found, err := r.Records(ctx, RecordsRequest{Table: RetentionTable, Keys: keys, Limit: len(keys)})
	if err != nil {
		return err
	}
	had := make(map[string]bool, len(found))
	for i := range found {
		had[found[i].Key] = true
	}
	ops := slices.Clone(c.Records)
	for _, key := range keys {
		op := RecordOp{Table: RetentionTable, Key: key, Expect: NoStream, Action: CheckRecord}
		if had[key] || c.Progress != nil { // a Commit with a Progress expects nothing of records
			op.Expect, op.Action, op.Value = AnyVersion, PutRecord, []byte{retentionCleared}
		}
		ops = append(ops, op)
	}
	c.Records = ops
	return nil
}
