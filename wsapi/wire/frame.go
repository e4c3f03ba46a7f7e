package wire

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
)

// The kinds of binary frames.
const (
	FrameEvents    = 0x01
	FrameAppend    = 0x02
	FrameResults   = 0x03
	FrameAck       = 0x04
	FrameCredit    = 0x05
	FrameCommit    = 0x06
	FrameCommitted = 0x07
	FrameForward   = 0x08 // between nodes
	FrameHead      = 0x09 // between nodes
)

const (
	flagCodec      = 0x03 // bits 0 and 1, of EVENTS, APPEND and COMMIT
	flagDeliveries = 0x04 // of EVENTS
	flagAnswer     = 0x08 // of EVENTS
	flagTimeout    = 0x08 // of APPEND and COMMIT
	flagFields     = 0x10 // of COMMIT
	flagUpTo       = 0x08 // of ACK
	flagDurable    = 0x10 // of ACK
	flagVersions   = 0x20 // of ACK
	flagDuplicate  = 0x08 // of COMMITTED
	flagReplay     = 0x10 // of EVENTS that are deliveries
	flagOwner      = 0x10 // of RESULTS and COMMITTED

	flagIncarnations = 0x20 // of COMMITTED
)

// EventsFrame is a run of events: of a sub or, if Answer, of the page that answers
// the request with that number.
type EventsFrame struct {
	Sub    uint64
	Answer bool
	Batch  core.Batch
	// Attempts has one for each event of a named subscription; nil for others.
	Attempts []uint64
	// Replay is set if they are parked events that are delivered again.
	Replay bool
}

// Result answers a Commit that wrote one event or link.
type Result struct {
	ID, Version, Position uint64
	Node                  string // the owner, where that is another node
}

// AppendEventsHeader appends an EVENTS frame without its block, which follows.
func AppendEventsHeader(dst []byte, sub uint64, answer bool, count int) []byte {
	return appendEventsHeader(dst, 0, sub, answer, count)
}

// AppendCodedHeader is AppendEventsHeader for a block that was compressed.
func AppendCodedHeader(dst []byte, sub uint64, answer bool, count int, c *Coded) []byte {
	return appendSizes(appendEventsHeader(dst, byte(c.Codec), sub, answer, count), c)
}

// AppendDeliveriesHeader appends an EVENTS frame of a named subscription without its
// block, which follows: the events that are sent for those times. replay says that they are
// parked events that are delivered again.
func AppendDeliveriesHeader(dst []byte, sub uint64, attempts []uint64, replay bool) []byte {
	return appendNumbers(appendEventsHeader(dst, deliveryFlags(replay), sub, false, len(attempts)), attempts)
}

func deliveryFlags(replay bool) byte {
	if replay {
		return flagDeliveries | flagReplay
	}
	return flagDeliveries
}

// AppendCodedDeliveriesHeader is AppendDeliveriesHeader for a block that was compressed.
func AppendCodedDeliveriesHeader(dst []byte, sub uint64, attempts []uint64, replay bool, c *Coded) []byte {
	dst = appendEventsHeader(dst, deliveryFlags(replay)|byte(c.Codec), sub, false, len(attempts))
	return appendSizes(appendNumbers(dst, attempts), c)
}

// appendSizes appends what stands before a compressed block.
func appendSizes(dst []byte, c *Coded) []byte {
	dst = binary.AppendUvarint(dst, uint64(c.Raw))
	return binary.AppendUvarint(dst, uint64(len(c.Block)))
}

func appendNumbers(dst []byte, numbers []uint64) []byte {
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func appendEventsHeader(dst []byte, flags byte, sub uint64, answer bool, count int) []byte {
	if answer {
		flags |= flagAnswer
	}
	dst = append(dst, FrameEvents, flags)
	dst = binary.AppendUvarint(dst, sub)
	return binary.AppendUvarint(dst, uint64(count))
}

// AppendResults appends a RESULTS frame for each run of results of the same node. Results
// that count up together become one range.
func AppendResults(dst []byte, results []Result) []byte {
	for len(results) > 0 {
		n := 1
		for n < len(results) && results[n].Node == results[0].Node {
			n++
		}
		dst = appendResults(dst, results[:n])
		results = results[n:]
	}
	return dst
}

// appendResults appends one RESULTS frame.
func appendResults(dst []byte, results []Result) []byte {
	ranges := 0
	for i := range results {
		if i == 0 || !follows(results[i-1], results[i]) {
			ranges++
		}
	}
	dst = append(dst, FrameResults, ownerFlag(results[0].Node))
	dst = appendOwner(dst, results[0].Node)
	dst = binary.AppendUvarint(dst, uint64(ranges))
	for i := 0; i < len(results); {
		end := i + 1
		for end < len(results) && follows(results[end-1], results[end]) {
			end++
		}
		dst = binary.AppendUvarint(dst, results[i].ID)
		dst = binary.AppendUvarint(dst, uint64(end-i))
		dst = binary.AppendUvarint(dst, results[i].Version)
		dst = binary.AppendUvarint(dst, results[i].Position)
		i = end
	}
	return dst
}

// ownerFlag is the flag of a frame that names the owner, or 0 where there is no name.
func ownerFlag(node string) byte {
	if node == "" {
		return 0
	}
	return flagOwner
}

// appendOwner appends the owner's name, if there is one.
func appendOwner(dst []byte, node string) []byte {
	if node == "" {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(node)))
	return append(dst, node...)
}

// owner takes the owner's name, if the flags say that there is one.
func (f *Frames) owner(flags byte) (string, error) {
	if flags&flagOwner == 0 {
		return "", nil
	}
	n, err := f.count(1)
	if err != nil || n == 0 || !utf8.Valid(f.rest[:n]) {
		return "", errCut
	}
	node := string(f.rest[:n])
	f.rest = f.rest[n:]
	return node, nil
}

func follows(a, b Result) bool {
	return b.ID == a.ID+1 && b.Version == a.Version+1 && b.Position == a.Position+1
}

// AppendCredit appends a CREDIT frame.
func AppendCredit(dst []byte, c Credit) []byte {
	dst = append(dst, FrameCredit, 0)
	dst = binary.AppendUvarint(dst, c.Sub)
	dst = binary.AppendUvarint(dst, uint64(c.Events))
	return binary.AppendUvarint(dst, uint64(c.Bytes))
}

// Frames takes the frames of a binary message one after another. What it decodes
// points into the message.
type Frames struct {
	rest   []byte
	agreed Codec
	// Compressed blocks may have left bytes more in sum, of limit.
	left, limit int

	// Grow, if it is set, is called before so many bytes are taken for a block that was
	// compressed. A block that it has an error for is passed over.
	Grow func(n int) error
	// Checked is set where the sender is a node that forwards: it has checked that JSON is JSON,
	// and may expect incarnations. It is also set where nobody is going to look at what is taken.
	Checked bool
}

// NewFrames reads message, which is taken over. Blocks in it may be compressed with the
// codec that was agreed on; together they may have limit bytes when they are not
// compressed any more.
func NewFrames(message []byte, agreed Codec, limit int) Frames {
	return Frames{rest: message, agreed: agreed, left: limit, limit: limit}
}

// Clone copies what is left, so that the message can be used again.
func (f *Frames) Clone() Frames {
	clone := *f
	clone.rest = bytes.Clone(f.rest)
	return clone
}

// Kind is that of the next frame; false at the end.
func (f *Frames) Kind() (byte, bool) {
	if len(f.rest) == 0 {
		return 0, false
	}
	return f.rest[0], true
}

// header takes kind and flags.
func (f *Frames) header(known byte) (flags byte, err error) {
	if len(f.rest) < 2 {
		return 0, errCut
	}
	flags = f.rest[1]
	switch codec := Codec(flags & flagCodec); {
	case codec == Uncompressed || codec == f.agreed:
	case f.agreed == Uncompressed:
		return 0, core.Errorf(core.CodeProtocolError, "a compressed frame, and no compression was agreed on")
	default:
		return 0, core.Errorf(core.CodeProtocolError, "a frame is compressed with %s; %s was agreed on", codec, f.agreed)
	}
	if flags&^known != 0 {
		return 0, core.Errorf(core.CodeProtocolError, "flags %#x of a frame of kind %d are not known", flags, f.rest[0])
	}
	f.rest = f.rest[2:]
	return flags, nil
}

var errCut = core.Errorf(core.CodeProtocolError, "a binary frame is cut short or malformed")

// block is where the block of a frame begins: its events, records or more. One that was
// compressed is all of it; else it goes up to where what is in it ends, and sized is
// false. A block that is too large is passed over.
func (f *Frames) block(flags byte) (block []byte, sized bool, err error) {
	codec := Codec(flags & flagCodec)
	if codec == Uncompressed {
		return f.rest, false, nil
	}
	var raw, coded uint64
	if err := f.numbers(&raw, &coded); err != nil {
		return nil, true, err
	}
	if coded > uint64(len(f.rest)) {
		return nil, true, errCut
	}
	compressed := f.rest[:coded]
	f.rest = f.rest[coded:]
	if raw > uint64(f.left) {
		e := core.Errorf(core.CodeFrameTooLarge, "a compressed frame has %d bytes; those of a message may have %d in sum", raw, f.limit)
		e.Limit = int64(f.limit)
		return nil, true, e
	}
	f.left -= int(raw)
	if f.Grow != nil {
		if err := f.Grow(int(raw)); err != nil {
			return nil, true, err
		}
	}
	block, err = decompress(codec, compressed, int(raw))
	return block, true, err
}

// number takes a uvarint of at most 2^53-1.
func (f *Frames) number() (uint64, error) {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 || v > core.MaxNumber {
		return 0, errCut
	}
	f.rest = f.rest[n:]
	return v, nil
}

// numbers takes several.
func (f *Frames) numbers(to ...*uint64) error {
	for _, p := range to {
		v, err := f.number()
		if err != nil {
			return err
		}
		*p = v
	}
	return nil
}

// count takes the number of things that have so many bytes each, or more: what is not
// there is not allocated for.
func (f *Frames) count(each int) (int, error) {
	n, err := f.number()
	if err != nil || n > uint64(len(f.rest)/each) {
		return 0, errCut
	}
	return int(n), nil
}

// list takes so many numbers.
func (f *Frames) list(count uint64) ([]uint64, error) {
	// Each has at least a byte: what is not there is not allocated for.
	if count > uint64(len(f.rest)) {
		return nil, errCut
	}
	list := make([]uint64, count)
	for i := range list {
		if err := f.numbers(&list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Unknown is the error for a kind that is not expected here.
func (f *Frames) Unknown() error {
	return core.Errorf(core.CodeProtocolError, "a binary frame of kind %#x is not known here", f.rest[0])
}

// Events takes an EVENTS frame.
func (f *Frames) Events() (EventsFrame, error) {
	var e EventsFrame
	flags, err := f.header(flagAnswer | flagDeliveries | flagReplay | flagCodec)
	if err != nil {
		return e, err
	}
	e.Answer, e.Replay = flags&flagAnswer != 0, flags&flagReplay != 0
	if e.Replay && flags&flagDeliveries == 0 {
		return e, errCut
	}
	var count uint64
	if err := f.numbers(&e.Sub, &count); err != nil {
		return e, err
	}
	if flags&flagDeliveries != 0 {
		if e.Attempts, err = f.list(count); err != nil {
			return e, err
		}
	}
	block, sized, err := f.block(flags)
	if err != nil {
		return e, err
	}
	if count > uint64(len(block)) {
		return e, errCut
	}
	end := 0
	for range count {
		size, n := binary.Uvarint(block[end:])
		if n <= 0 || size > uint64(len(block)-end-n) {
			return e, errCut
		}
		end += n + int(size)
	}
	e.Batch, err = core.ParseBatch(block[:end:end], int(count))
	if err != nil || sized && end < len(block) {
		return e, errCut
	}
	if !sized {
		f.rest = block[end:]
	}
	return e, nil
}

// Results takes a RESULTS frame and appends to results what it says. At most limit
// results are taken, so that a few bytes cannot ask for much memory.
func (f *Frames) Results(results []Result, limit int) ([]Result, error) {
	flags, err := f.header(flagOwner)
	if err != nil {
		return results, err
	}
	node, err := f.owner(flags)
	if err != nil {
		return results, err
	}
	ranges, err := f.number()
	if err != nil {
		return results, err
	}
	for range ranges {
		var first Result
		var n uint64
		if err := f.numbers(&first.ID, &n, &first.Version, &first.Position); err != nil {
			return results, err
		}
		if n > uint64(limit-len(results)) {
			return results, core.Errorf(core.CodeProtocolError, "more results than requests")
		}
		for i := range n {
			results = append(results, Result{first.ID + i, first.Version + i, first.Position + i, node})
		}
	}
	return results, nil
}

// Credit takes a CREDIT frame.
func (f *Frames) Credit() (Credit, error) {
	var sub, events, size uint64
	if _, err := f.header(0); err != nil {
		return Credit{}, err
	}
	err := f.numbers(&sub, &events, &size)
	return Credit{Op: "credit", Sub: sub, Events: int64(events), Bytes: int64(size)}, err
}
