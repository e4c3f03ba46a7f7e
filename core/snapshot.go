package core

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"
)

// Snapshot is the state that a client has made of a stream's events, up to a version: what
// loads the state reads the snapshot and the events after it. A stream has at most one
// snapshot of a kind.
//
// The stream need not have events: the state of something may be kept whose events are in
// other streams. Such a snapshot is loaded for as long as the stream has none. A snapshot of
// a stream that has events is of a version that the stream has reached.
type Snapshot struct {
	Stream string
	// Kind is 1 to MaxSnapshotKindBytes bytes, with the rules of stream names; "" is
	// DefaultSnapshotKind.
	Kind    string
	Version uint64 // of the last event that the state has
	Type    string // of the state, which the client chooses; it may be empty

	Format      Format
	ContentType string // "" if Format says it
	Data        []byte
	Metadata    []byte // a JSON object, or empty

	// Recorded is when the snapshot was submitted, by the clock of the node.
	Recorded time.Time
	// Incarnation is the stream's, 0 if the stream had no events.
	Incarnation uint32
}

// DefaultSnapshotKind is the kind of a snapshot that names none.
const DefaultSnapshotKind = "default"

// SnapshotPut records a Snapshot; its Recorded and Incarnation are set by the node.
type SnapshotPut struct {
	Snapshot
	// Overwrite has the snapshot replace one of a greater version, too.
	Overwrite bool
}

// SnapshotsRequest asks for a page of the snapshots of a stream.
type SnapshotsRequest struct {
	Stream string
	After  string // Next of the page before
	Limit  int    // 1 … MaxReadEvents; 0 is DefaultReadEvents
}

// SnapshotsPage is the answer to a SnapshotsRequest, in the byte order of the kinds.
type SnapshotsPage struct {
	Snapshots []SnapshotInfo
	Next      string // the kind that the next page goes on after
	End       bool
}

// SnapshotInfo is a Snapshot without Data and Metadata.
type SnapshotInfo struct {
	Snapshot
	Bytes int // of Data and Metadata
}

// LoadRequest asks for a snapshot and the events after it.
type LoadRequest struct {
	Stream string
	Kind   string
	// Limit is that of a ReadRequest. The snapshot counts against its Bytes.
	Limit Limit
	// Buffer is that of a ReadRequest.
	Buffer []byte
}

// Loaded is the answer to a LoadRequest. The page begins at the version after Snapshot, or at
// the first event if Snapshot is nil. If it is not the End, more events are at Next.
type Loaded struct {
	Snapshot *Snapshot
	Page
}

// Bytes is the size of what was loaded.
func (l *Loaded) Bytes() int {
	if l.Snapshot == nil {
		return len(l.Block)
	}
	return len(l.Block) + l.Snapshot.size()
}

// A snapshot is one record, put by compare-and-set. A delete puts a record, too, which says
// that there is no snapshot: the revisions of a record that was deleted and made again begin
// again, and a put that is late could take the new record for the one that it has read.
const (
	// SnapshotsTable is the table of the records.
	SnapshotsTable = "snapshots"
	// snapshotKindMark stands between stream and kind in a key. Neither has it.
	snapshotKindMark = "\n"
)

// snapshotHeaderBytes is room for all that a record has beside data and metadata.
const snapshotHeaderBytes = 2 << 10

func snapshotKey(stream, kind string) string { return stream + snapshotKindMark + kind }

// SnapshotStream returns the stream whose snapshots a key of SnapshotsTable is about, or a
// prefix of keys. It is "" if they are not those of one stream.
func SnapshotStream(key string) string {
	stream, _, ok := strings.Cut(key, snapshotKindMark)
	if !ok {
		return ""
	}
	return stream
}

// The form of a record:
//
//	u8 1 | uvarint version | uvarint incarnation | i64le recorded, Unix µs |
//	an event to append (newevent.go), without id and time
//
// A snapshot that was deleted is u8 0.
const (
	snapshotDeleted = 0
	snapshotPut     = 1
)

func encodeSnapshot(s *Snapshot) []byte {
	dst := make([]byte, 0, snapshotHeaderBytes+s.size())
	dst = append(dst, snapshotPut)
	dst = binary.AppendUvarint(dst, s.Version)
	dst = binary.AppendUvarint(dst, uint64(s.Incarnation))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(micros(s.Recorded)))
	return EncodeNewEvent(dst, s.event())
}

// event is s without its place.
func (s *Snapshot) event() *NewEvent {
	return &NewEvent{Type: s.Type, Format: s.Format, ContentType: s.ContentType, Data: s.Data, Metadata: s.Metadata}
}

// size is how much s counts against MaxSnapshotBytes.
func (s *Snapshot) size() int { return len(s.Data) + len(s.Metadata) }

// isSnapshotDeleted reports whether a record says that there is no snapshot.
func isSnapshotDeleted(r *Record) bool { return len(r.Value) == 1 && r.Value[0] == snapshotDeleted }

// decodeSnapshot decodes a record; nil if the snapshot was deleted. It points into the value.
func decodeSnapshot(r *Record) (*Snapshot, error) {
	s := &Snapshot{}
	s.Stream, s.Kind, _ = strings.Cut(r.Key, snapshotKindMark)
	if isSnapshotDeleted(r) {
		return nil, nil
	}
	d := decoder{b: r.Value, ok: true}
	form := d.byte()
	s.Version = d.uvarint()
	incarnation := d.uvarint()
	recorded := d.take(8)
	var e NewEvent
	if d.ok && form == snapshotPut && incarnation <= uint64(^uint32(0)) {
		s.Incarnation = uint32(incarnation)
		s.Recorded = fromMicros(int64(binary.LittleEndian.Uint64(recorded)))
		if n, err := DecodeNewEvent(d.b, &e); err == nil && n == len(d.b) {
			s.Type, s.Format, s.ContentType, s.Data, s.Metadata = e.Type, e.Format, e.ContentType, e.Data, e.Metadata
			return s, nil
		}
	}
	return nil, Errorf(CodeStoreCorrupt, "the record of snapshot %q of stream %q cannot be read", Clip(s.Kind), Clip(s.Stream))
}

// ValidateSnapshotName checks the stream and the kind of a snapshot.
func ValidateSnapshotName(stream, kind string) error { return checkSnapshotName(stream, &kind) }

// checkSnapshotName checks the stream and the kind of a snapshot, and sets the default kind.
func checkSnapshotName(stream string, kind *string) error {
	if *kind == "" {
		*kind = DefaultSnapshotKind
	}
	if err := ValidateReadable(stream); err != nil {
		return err
	}
	if len(*kind) > MaxSnapshotKindBytes || strings.HasPrefix(*kind, "$") || validateName(*kind) != nil {
		return Errorf(CodeInvalidSnapshot, "%q is not a kind of snapshot: it has 1 to %d bytes, and does not begin with '$'", Clip(*kind), MaxSnapshotKindBytes)
	}
	return nil
}

// validate checks p, and sets the default kind.
func (p *SnapshotPut) validate() error {
	if err := checkSnapshotName(p.Stream, &p.Kind); err != nil {
		return err
	}
	if err := ValidateStream(p.Stream); err != nil {
		return err
	}
	switch {
	case p.Version == 0 || p.Version > MaxNumber:
		return Errorf(CodeInvalidSnapshot, "%d is not the version of an event", p.Version)
	case len(p.Type) > MaxEventTypeBytes || !printable(p.Type):
		return Errorf(CodeInvalidSnapshot, "%q is not the type of a state", Clip(p.Type))
	case p.size() > MaxSnapshotBytes:
		e := Errorf(CodeSnapshotTooLarge, "data and metadata are %d bytes, the limit is %d", p.size(), MaxSnapshotBytes)
		e.Limit = MaxSnapshotBytes
		return e
	}
	content := p.event()
	content.Type = "snapshot" // the rules of an event's data are a snapshot's, too
	if err := content.validate(); err != nil {
		return err
	}
	return nil
}

// SnapshotReader reads snapshots and the events after them.
type SnapshotReader interface {
	RecordReader
	Read(ctx context.Context, r ReadRequest) (Page, error)
}

// SnapshotStore reads and records snapshots.
type SnapshotStore interface {
	SnapshotReader
	Append(ctx context.Context, c Commit) (Result, error)
}

// ReadSnapshot returns the snapshot of a stream, or snapshot_not_found. A snapshot of another
// incarnation is not found. The error is that of a read if the stream is deleted or tombstoned.
func ReadSnapshot(ctx context.Context, r SnapshotReader, stream, kind string) (Snapshot, error) {
	if err := checkSnapshotName(stream, &kind); err != nil {
		return Snapshot{}, err
	}
	s, _, err := readSnapshot(ctx, r, stream, kind)
	if err != nil {
		return Snapshot{}, err
	}
	incarnation, err := presentIncarnation(ctx, r, stream)
	switch {
	case err != nil:
		return Snapshot{}, err
	case s == nil || s.Incarnation != incarnation:
		e := Errorf(CodeSnapshotNotFound, "stream %q has no snapshot %q", Clip(stream), Clip(kind))
		e.Stream = stream
		return Snapshot{}, e
	}
	return *s, nil
}

// readSnapshot returns a snapshot, nil if there is none, and the revision of its record.
func readSnapshot(ctx context.Context, r RecordReader, stream, kind string) (*Snapshot, uint64, error) {
	found, err := r.Records(ctx, RecordsRequest{Table: SnapshotsTable, Keys: []string{snapshotKey(stream, kind)}, Limit: 1})
	if err != nil || len(found) == 0 {
		return nil, 0, err
	}
	s, err := decodeSnapshot(&found[0])
	return s, found[0].Revision, err
}

// presentIncarnation is that of a stream's events, 0 if it has none. Records are read before
// it: those of an incarnation that was removed meanwhile are then told apart.
func presentIncarnation(ctx context.Context, r SnapshotReader, stream string) (uint32, error) {
	page, err := r.Read(ctx, ReadRequest{Stream: stream, Backward: true, Limit: Limit{Events: 1, Bytes: 1}})
	switch {
	case isNotFound(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return incarnationOf(&page), nil
}

// The bounds of what ListSnapshots reads for one page: records at a time, which have their
// data, and records together.
const (
	listSnapshotsAtOnce = 4
	maxListedSnapshots  = 100
)

// ListSnapshots returns a page of the snapshots of a stream's present incarnation. A page may
// have fewer than were asked for though it is not the last one. The error is that of a read if
// the stream is deleted or tombstoned.
func ListSnapshots(ctx context.Context, r SnapshotReader, q SnapshotsRequest) (SnapshotsPage, error) {
	if err := ValidateReadable(q.Stream); err != nil {
		return SnapshotsPage{}, err
	}
	if err := ValidateListing("", q.After); err != nil {
		return SnapshotsPage{}, err
	}
	prefix := snapshotKey(q.Stream, "")
	page := SnapshotsPage{Next: q.After}
	limit := pageLimit(q.Limit)
	for scanned := 0; len(page.Snapshots) < limit && scanned < maxListedSnapshots && !page.End; scanned += listSnapshotsAtOnce {
		asked := min(listSnapshotsAtOnce, limit-len(page.Snapshots))
		found, err := r.Records(ctx, RecordsRequest{Table: SnapshotsTable, Prefix: prefix, After: prefix + page.Next, Limit: asked})
		if err != nil {
			return SnapshotsPage{}, err
		}
		for i := range found {
			s, err := decodeSnapshot(&found[i])
			if err != nil {
				return SnapshotsPage{}, err
			}
			page.Next = strings.TrimPrefix(found[i].Key, prefix)
			if s != nil {
				info := SnapshotInfo{Snapshot: *s, Bytes: s.size()}
				info.Data, info.Metadata = nil, nil
				info.Type, info.ContentType = strings.Clone(s.Type), strings.Clone(s.ContentType)
				page.Snapshots = append(page.Snapshots, info)
			}
		}
		page.End = len(found) < asked
	}
	incarnation, err := presentIncarnation(ctx, r, q.Stream)
	if err != nil {
		return SnapshotsPage{}, err
	}
	page.Snapshots = slices.DeleteFunc(page.Snapshots, func(s SnapshotInfo) bool { return s.Incarnation != incarnation })
	return page, nil
}

// snapshotTries bounds how often a snapshot is read that others write meanwhile.
const snapshotTries = 10

// RecordSnapshot records a snapshot. It reports whether that changed something: the same
// snapshot again does not. The error is snapshot_older if there is one of a greater version,
// and snapshot_ahead if the stream has events and has not reached the version.
func RecordSnapshot(ctx context.Context, s SnapshotStore, p SnapshotPut) (bool, error) {
	result, err := AppendWithSnapshots(ctx, s, Commit{}, []SnapshotPut{p})
	return !result.Duplicate, err
}

// AppendWithSnapshots makes a Commit that records snapshots, too, all or nothing. They may be
// of versions that the Commit appends, and not of a stream that it changes as a whole. The Commit
// has no Records and no Progress beside them. A Commit whose events are known records nothing (P5).
func AppendWithSnapshots(ctx context.Context, s SnapshotStore, c Commit, puts []SnapshotPut) (Result, error) {
	if len(puts) == 0 {
		return s.Append(ctx, c)
	}
	puts, err := ValidateSnapshots(&c, puts)
	if err != nil {
		return Result{}, err
	}
	for i := range puts {
		puts[i].Recorded = time.Now().UTC().Truncate(time.Microsecond)
	}
	for range snapshotTries {
		refusal, err := c.putSnapshots(ctx, s, puts)
		switch {
		case err != nil:
			return Result{}, err
		case len(c.Appends) > 0: // what is known has its result, whatever it expects
		case refusal != nil:
			return Result{}, refusal
		case len(c.Records) == 0:
			return Result{Duplicate: true}, nil
		}
		result, err := s.Append(ctx, c)
		switch {
		case !errors.Is(err, CodeRecordConflict):
			return result, err
		case refusal != nil:
			return Result{}, refusal
		}
	}
	return Result{}, Errorf(CodeRecordConflict, "the snapshot of stream %q changed whenever it was to be recorded", Clip(puts[0].Stream))
}

// ValidateSnapshots checks what AppendWithSnapshots is to write, as far as that does not need the
// log. It returns the snapshots with their kinds.
func ValidateSnapshots(c *Commit, puts []SnapshotPut) ([]SnapshotPut, error) {
	switch {
	case len(puts) > MaxCommitSnapshots:
		e := Errorf(CodeCommitTooLarge, "%d snapshots, the limit is %d", len(puts), MaxCommitSnapshots)
		e.Limit = MaxCommitSnapshots
		return nil, e
	case len(c.Records) > 0:
		return nil, Errorf(CodeInvalidRequest, "an append that records snapshots writes no other records")
	case c.Progress != nil:
		return nil, Errorf(CodeInvalidRequest, "an append records snapshots, or moves a progress, not both")
	}
	puts = slices.Clone(puts)
	whole := *c
	for i := range puts {
		p := &puts[i]
		if err := p.validate(); err != nil {
			return nil, err
		}
		if c.Changes(p.Stream) {
			e := Errorf(CodeInvalidRequest, "a snapshot is recorded of stream %q, which the same commit changes as a whole", Clip(p.Stream))
			e.Stream = p.Stream
			return nil, e
		}
		if slices.ContainsFunc(puts[:i], func(b SnapshotPut) bool { return b.Stream == p.Stream && b.Kind == p.Kind }) {
			return nil, Errorf(CodeInvalidSnapshot, "snapshot %q of stream %q is recorded twice", Clip(p.Kind), Clip(p.Stream))
		}
		whole.Records = append(whole.Records, RecordOp{Table: SnapshotsTable, Key: snapshotKey(p.Stream, p.Kind), Value: encodeSnapshot(&p.Snapshot)})
	}
	return puts, whole.Validate()
}

// putSnapshots sets the Records of c. If a snapshot is refused, refusal says why, and only a
// Commit that is known passes.
func (c *Commit) putSnapshots(ctx context.Context, s SnapshotStore, puts []SnapshotPut) (refusal, err error) {
	c.Records = nil
	for i := range puts {
		p := &puts[i]
		now, revision, err := readSnapshot(ctx, s, p.Stream, p.Kind)
		if err != nil {
			return nil, err
		}
		version, incarnation, err := c.reaches(ctx, s, p.Stream)
		switch {
		case errors.Is(err, CodeStreamDeleted), errors.Is(err, CodeStreamTombstoned):
			refusal = err
		case err != nil:
			return nil, err
		}
		p.Incarnation = incarnation
		op := RecordOp{Table: SnapshotsTable, Key: snapshotKey(p.Stream, p.Kind), Expect: Expect(revision)}
		switch {
		case incarnation > 0 && p.Version > version:
			refusal = newSnapshotAhead(p, version)
		case now == nil || now.Incarnation != incarnation:
		case p.Version < now.Version && !p.Overwrite:
			refusal = newSnapshotOlder(p, now.Version)
		case p.isSame(now) && len(c.Appends)+len(c.Checks) == 0:
			continue
		}
		if op.Value = encodeSnapshot(&p.Snapshot); refusal != nil {
			op.Expect = neverHolds
		}
		c.Records = append(c.Records, op)
	}
	return refusal, nil
}

// reaches returns the version that a stream has after c, and its incarnation; both are 0 if
// it has no events.
func (c *Commit) reaches(ctx context.Context, s SnapshotReader, stream string) (version uint64, incarnation uint32, err error) {
	for i := range c.Appends {
		if c.Appends[i].Stream == stream {
			version += uint64(c.Appends[i].Count())
		}
	}
	page, err := s.Read(ctx, ReadRequest{Stream: stream, Backward: true, Limit: Limit{Events: 1, Bytes: 1}})
	switch {
	case isNotFound(err) && version == 0:
		return 0, 0, nil
	case err != nil && !isNotFound(err):
		return 0, 0, err
	}
	return version + page.Version, incarnationOf(&page), nil
}

// incarnationOf is that of the stream of a page. Engines that remove no events say none.
func incarnationOf(page *Page) uint32 { return max(page.Incarnation, 1) }

// isSame reports whether p is what is stored now.
func (p *SnapshotPut) isSame(now *Snapshot) bool {
	return p.Version == now.Version && p.Type == now.Type && p.Format == now.Format && p.ContentType == now.ContentType &&
		bytes.Equal(p.Data, now.Data) && bytes.Equal(p.Metadata, now.Metadata)
}

func newSnapshotOlder(p *SnapshotPut, stored uint64) *Error {
	e := Errorf(CodeSnapshotOlder, "snapshot %q of stream %q is of version %d, the one to record is of %d", Clip(p.Kind), Clip(p.Stream), stored, p.Version)
	e.Stream, e.Actual = p.Stream, &stored
	return e
}

func newSnapshotAhead(p *SnapshotPut, version uint64) *Error {
	e := Errorf(CodeSnapshotAhead, "stream %q is at version %d, the snapshot is of %d", Clip(p.Stream), version, p.Version)
	e.Stream, e.Actual = p.Stream, &version
	return e
}

// DeleteSnapshot removes a snapshot, if there is one, and reports whether there was.
func DeleteSnapshot(ctx context.Context, s SnapshotStore, stream, kind string) (bool, error) {
	if err := checkSnapshotName(stream, &kind); err != nil {
		return false, err
	}
	for range snapshotTries {
		now, revision, err := readSnapshot(ctx, s, stream, kind)
		if now == nil && !errors.Is(err, CodeStoreCorrupt) { // what cannot be read can be deleted
			return false, err
		}
		_, err = s.Append(ctx, Commit{Records: []RecordOp{
			{Table: SnapshotsTable, Key: snapshotKey(stream, kind), Expect: Expect(revision), Value: []byte{snapshotDeleted}},
		}})
		if !errors.Is(err, CodeRecordConflict) {
			return err == nil, err
		}
	}
	return false, Errorf(CodeRecordConflict, "the snapshot of stream %q changed whenever it was to be deleted", Clip(stream))
}

// Load returns the snapshot of a stream and a page of the events after it. The snapshot is
// read first, so no event between the two is missed. A snapshot that is not of the stream's
// events is ignored: one of an earlier incarnation, or of a time at which there were none.
func Load(ctx context.Context, r SnapshotReader, q LoadRequest) (Loaded, error) {
	if err := checkSnapshotName(q.Stream, &q.Kind); err != nil {
		return Loaded{}, err
	}
	request := ReadRequest{Stream: q.Stream, Limit: q.Limit, Buffer: q.Buffer}
	if err := request.bound(); err != nil {
		return Loaded{}, err
	}
	s, _, err := readSnapshot(ctx, r, q.Stream, q.Kind)
	if err != nil {
		return Loaded{}, err
	}
	if s != nil {
		if l, err := s.load(ctx, r, request); err != nil || l.Snapshot != nil {
			return l, err
		}
	}
	page, err := r.Read(ctx, request)
	return Loaded{Page: page}, err
}

// load reads the events after s. Loaded has no Snapshot if s is not of the stream's events.
func (s *Snapshot) load(ctx context.Context, r SnapshotReader, request ReadRequest) (Loaded, error) {
	request.From = min(s.Version+1, MaxNumber)
	request.Limit.Bytes = max(1, request.Limit.Bytes-s.size())
	page, err := r.Read(ctx, request)
	switch {
	case isNotFound(err) && s.Incarnation == 0:
		return Loaded{Snapshot: s, Page: Page{Next: 1, End: true}}, nil
	case err != nil, page.Version < s.Version, incarnationOf(&page) != s.Incarnation:
		return Loaded{}, err
	}
	return Loaded{Snapshot: s, Page: page}, nil
}
