package wire

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// CommitFrame is a Commit as a frame: APPEND if it appends events to one stream, and
// COMMIT if there is anything else to it. Its Commit has no records.
type CommitFrame struct {
	ID      uint64
	Timeout time.Duration // 0 = none given
	Commit  core.Commit
}

// isAppend says that f needs no COMMIT.
func (f *CommitFrame) isAppend() bool {
	c := &f.Commit
	return len(c.Appends) == 1 && len(c.Appends[0].Links) == 0 && len(c.Checks) == 0 && !hasFields(c)
}

// AppendCommit appends an APPEND or a COMMIT frame.
func AppendCommit(dst []byte, f *CommitFrame) []byte {
	dst = appendCommitHeader(slices.Grow(dst, f.maxBytes()), 0, f)
	if f.isAppend() {
		return appendRecords(dst, f.Commit.Appends[0].Events)
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Commit.Appends)))
	for i := range f.Commit.Appends {
		a := &f.Commit.Appends[i]
		dst = appendTarget(dst, a.Stream, a.Expect)
		dst = binary.AppendUvarint(dst, uint64(len(a.Events)))
		dst = appendRecords(dst, a.Events)
		dst = binary.AppendUvarint(dst, uint64(len(a.Links)))
		for _, id := range a.Links {
			dst = append(dst, id[:]...)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Commit.Checks)))
	for i := range f.Commit.Checks {
		dst = appendTarget(dst, f.Commit.Checks[i].Stream, f.Commit.Checks[i].Expect)
	}
	if hasFields(&f.Commit) {
		dst = appendFields(dst, &f.Commit)
	}
	return dst
}

// appendCommitHeader appends what stands before the block of an APPEND or a COMMIT
// frame.
func appendCommitHeader(dst []byte, flags byte, f *CommitFrame) []byte {
	kind := byte(FrameCommit)
	if f.isAppend() {
		kind = FrameAppend
	}
	if f.Timeout > 0 {
		flags |= flagTimeout
	}
	if hasFields(&f.Commit) {
		flags |= flagFields
	}
	dst = append(dst, kind, flags)
	dst = binary.AppendUvarint(dst, f.ID)
	if f.Timeout > 0 {
		dst = binary.AppendUvarint(dst, uint64(max(1, f.Timeout.Milliseconds())))
	}
	if kind == FrameAppend {
		a := &f.Commit.Appends[0]
		dst = appendTarget(dst, a.Stream, a.Expect)
		dst = binary.AppendUvarint(dst, uint64(len(a.Events)))
	}
	return dst
}

func appendTarget(dst []byte, stream string, x core.Expect) []byte {
	dst = binary.AppendVarint(dst, int64(x))
	dst = binary.AppendUvarint(dst, uint64(len(stream)))
	return append(dst, stream...)
}

func appendRecords(dst []byte, events []core.NewEvent) []byte {
	for i := range events {
		dst = core.EncodeNewEvent(dst, &events[i])
	}
	return dst
}

// maxBytes bounds the size of the frame.
func (f *CommitFrame) maxBytes() int {
	const header, target = 32, 20 // with all numbers as long as they get
	n := header + (len(f.Commit.Appends)+len(f.Commit.Checks))*target + maxFieldsBytes(&f.Commit)
	for i := range f.Commit.Appends {
		a := &f.Commit.Appends[i]
		n += len(a.Stream) + len(a.Links)*len(core.ID{})
		for j := range a.Events {
			n += core.MaxEncodedBytes("", &a.Events[j])
		}
	}
	for i := range f.Commit.Checks {
		n += len(f.Commit.Checks[i].Stream)
	}
	return n
}

// Commit takes an APPEND or a COMMIT frame into c. The room of c.Commit.Appends, and of
// the events of the first of them, is used again. An error that is not protocol_error is
// about this Commit only, and the next frame can be taken.
func (f *Frames) Commit(c *CommitFrame) error {
	kind, _ := f.Kind()
	flags, err := f.commitHeader(c)
	if err != nil {
		return err
	}
	var only core.Append // of an APPEND
	var records uint64
	if kind == FrameAppend {
		if err := f.target(&only.Stream, &only.Expect); err != nil {
			return err
		}
		if err := f.numbers(&records); err != nil {
			return err
		}
	}
	block, sized, err := f.block(flags)
	if err != nil {
		return err
	}
	b := commitBlock{Frames: Frames{rest: block, Checked: f.Checked}}
	if len(c.Commit.Appends) > 0 {
		b.events = c.Commit.Appends[0].Events[:0]
	}
	c.Commit = core.Commit{Appends: c.Commit.Appends[:0]}
	if kind == FrameAppend {
		only.Events, err = b.records(records)
		c.Commit.Appends = append(c.Commit.Appends, only)
	} else {
		err = b.commit(&c.Commit, flags&flagFields != 0)
	}
	switch {
	case err != nil:
		return err
	case !sized:
		f.rest = b.rest
	case len(b.rest) > 0:
		return errCut
	}
	return b.refusal()
}

// commitHeader takes what an APPEND and a COMMIT begin with.
func (f *Frames) commitHeader(c *CommitFrame) (flags byte, err error) {
	known := byte(flagTimeout | flagCodec)
	if kind, _ := f.Kind(); kind == FrameCommit {
		known |= flagFields
	}
	if flags, err = f.header(known); err != nil {
		return 0, err
	}
	var timeoutMs uint64
	if c.ID, err = f.number(); err != nil {
		return 0, err
	}
	if flags&flagTimeout != 0 {
		if timeoutMs, err = f.number(); err != nil {
			return 0, err
		}
	}
	c.Timeout = time.Duration(min(timeoutMs, maxTimeoutMs)) * time.Millisecond
	return flags, nil
}

// maxTimeoutMs keeps a time.Duration from overflowing.
const maxTimeoutMs = 1 << 40

// target takes a stream and what is expected of it.
func (f *Frames) target(stream *string, x *core.Expect) error {
	expect, n := binary.Varint(f.rest)
	if n <= 0 {
		return errCut
	}
	f.rest = f.rest[n:]
	length, err := f.number()
	if err != nil || length > uint64(len(f.rest)) {
		return errCut
	}
	*stream, *x = string(f.rest[:length]), core.Expect(expect)
	f.rest = f.rest[length:]
	return nil
}

// The least bytes of an append and a check of a COMMIT, of a record, and of an append of
// a COMMITTED.
const (
	minAppendBytes   = 4
	minCheckBytes    = 2
	minRecordBytes   = 20
	minAppendedBytes = 3
)

// commitBlock takes the block of an APPEND or a COMMIT frame.
type commitBlock struct {
	Frames
	events []core.NewEvent // those of all appends, one behind the other
	bad    *core.Error     // the first thing that is refused; nil if nothing is
}

// refusal is bad as an error.
func (b *commitBlock) refusal() error {
	if b.bad == nil {
		return nil
	}
	return b.bad
}

// commit takes the block of a COMMIT. Of appends and of checks it keeps one more than
// there may be, which is enough for Commit.Validate to refuse them.
func (b *commitBlock) commit(c *core.Commit, fields bool) error {
	appends, err := b.count(minAppendBytes)
	if err != nil {
		return err
	}
	most := min(appends, core.MaxCommitEvents+1)
	c.Appends = slices.Grow(c.Appends, most)
	b.events = slices.Grow(b.events, min(most, len(b.rest)/minRecordBytes)) // most have one
	for i := range appends {
		var a core.Append
		if err := b.append(&a); err != nil {
			return err
		}
		if b.bad != nil && b.bad.Element == nil {
			element := i
			b.bad.Element = &element
		}
		if i <= core.MaxCommitEvents {
			c.Appends = append(c.Appends, a)
		}
	}
	checks, err := b.count(minCheckBytes)
	if err != nil {
		return err
	}
	for i := range checks {
		var check core.Check
		if err := b.target(&check.Stream, &check.Expect); err != nil {
			return err
		}
		if i <= core.MaxCommitChecks {
			c.Checks = append(c.Checks, check)
		}
	}
	if fields {
		return b.fields(c)
	}
	return nil
}

// append takes one append of a COMMIT.
func (b *commitBlock) append(a *core.Append) error {
	if err := b.target(&a.Stream, &a.Expect); err != nil {
		return err
	}
	events, err := b.number()
	if err != nil {
		return err
	}
	if a.Events, err = b.records(events); err != nil {
		return err
	}
	links, err := b.count(len(core.ID{}))
	if err != nil || links == 0 {
		return err
	}
	a.Links = make([]core.ID, links)
	for i := range a.Links {
		b.rest = b.rest[copy(a.Links[i][:], b.rest):]
	}
	return nil
}

// records takes so many events.
func (b *commitBlock) records(count uint64) ([]core.NewEvent, error) {
	if count > uint64(len(b.rest)/minRecordBytes) {
		return nil, errCut
	}
	begin := len(b.events)
	b.events = slices.Grow(b.events, int(count))
	for i := range count {
		var e core.NewEvent
		n, err := core.DecodeNewEvent(b.rest, &e)
		if err != nil {
			return nil, errCut
		}
		b.rest = b.rest[n:]
		if !b.Checked && b.bad == nil {
			b.check(int(i), &e)
		}
		b.events = append(b.events, e)
	}
	// Others follow in the same room.
	return b.events[begin:len(b.events):len(b.events)], nil
}

// check refuses the Commit if an event is not what it says.
func (b *commitBlock) check(number int, e *core.NewEvent) {
	if err := CheckEvent(e); err != nil {
		typed := core.AsError(err)
		b.bad = core.Errorf(typed.Code, "event %d: %s", number, typed.Detail)
	}
}

// AppendCommitted appends a COMMITTED frame. Only another node may be told of incarnations.
func AppendCommitted(dst []byte, id uint64, r *core.Result) []byte {
	flags := ownerFlag(r.Node)
	anew := slices.ContainsFunc(r.Appends, func(a core.Appended) bool { return a.Incarnation > 1 })
	if anew {
		flags |= flagIncarnations
	}
	if r.Duplicate {
		flags |= flagDuplicate
	}
	dst = append(dst, FrameCommitted, flags)
	dst = binary.AppendUvarint(dst, id)
	dst = appendOwner(dst, r.Node)
	dst = binary.AppendUvarint(dst, uint64(len(r.Appends)))
	for i := range r.Appends {
		a := &r.Appends[i]
		dst = binary.AppendUvarint(dst, uint64(a.Count()))
		dst = binary.AppendUvarint(dst, a.LastVersion)
		dst = binary.AppendUvarint(dst, a.LastPosition)
		if anew {
			dst = binary.AppendUvarint(dst, uint64(a.Incarnation))
		}
	}
	return dst
}

// Committed takes a COMMITTED frame.
func (f *Frames) Committed() (id uint64, r core.Result, err error) {
	flags, err := f.header(flagDuplicate | flagOwner | flagIncarnations)
	if err != nil {
		return 0, r, err
	}
	r.Duplicate = flags&flagDuplicate != 0
	if err := f.numbers(&id); err != nil {
		return 0, r, err
	}
	if r.Node, err = f.owner(flags); err != nil {
		return id, r, err
	}
	appends, err := f.count(minAppendedBytes)
	if err != nil {
		return id, r, err
	}
	r.Appends = make([]core.Appended, appends)
	for i := range r.Appends {
		var count, version, position, incarnation uint64
		if err := f.numbers(&count, &version, &position); err != nil {
			return id, r, err
		}
		if flags&flagIncarnations != 0 {
			if err := f.numbers(&incarnation); err != nil {
				return id, r, err
			}
		}
		if count == 0 || count > version || count > position {
			return id, r, core.Errorf(core.CodeProtocolError, "%d events up to version %d and position %d", count, version, position)
		}
		r.Appends[i] = core.Appended{
			FirstVersion: version - count + 1, LastVersion: version,
			FirstPosition: position - count + 1, LastPosition: position, Incarnation: uint32(min(incarnation, math.MaxUint32)),
		}
		r.Position = position
	}
	return id, r, nil
}
