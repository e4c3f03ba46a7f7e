package core

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Commit is the one way to write. All of it is written, or nothing (P6). Its Appends are
// applied in order, each seeing the ones before it; Checks, Streams and Records are compared
// with the state before the Commit. A stream may have several Appends, but only one StreamOp.
type Commit struct {
	Appends []Append
	Checks  []Check
	Streams []StreamOp
	Records []RecordOp
	// Progress moves a client's own place in the log; nil moves none. The Records of a Commit
	// that has one expect AnyVersion.
	Progress *Progress

	// System lets the Appends write streams of the system, whose names begin with '$'. Only
	// the node itself sets it: no message carries it.
	System bool

	// Epoch is the epoch under which this node is the owner of what the Commit writes.
	// Storage that has epochs refuses another than the log's with stale_epoch
	// (P7). 0 means the epoch that the engine was opened under.
	Epoch uint64
	// Lazy lets the Store delay the Commit, by MaxLazyWait at most, so that it shares
	// a step with others. The next Commit that is not lazy takes it along.
	Lazy bool
}

// Append adds events to the end of a stream, or links to events. It has one or
// the other.
type Append struct {
	Stream string
	Expect Expect
	// Incarnation is the stream's incarnation that the Append expects; 0 expects any. A client
	// refuses others with not_supported: only nodes send them.
	Incarnation uint32
	Events      []NewEvent
	// Links are the ids of events that are in the log, or are written by an earlier
	// Append of the Commit. Each link has a version and a position of its own. A stream
	// has an event at most once, at home or as a link.
	Links []ID
}

// Count is the number of versions and positions that a takes.
func (a *Append) Count() int { return len(a.Events) + len(a.Links) }

// Mismatch returns why a is refused by a stream that is at version of an incarnation, or nil.
func (a *Append) Mismatch(incarnation uint32, version uint64) *Error {
	return mismatch(a.Stream, a.Incarnation, incarnation, a.Expect, version)
}

// mismatch compares the incarnation and the version that are expected of a stream with its own.
func mismatch(stream string, expected, incarnation uint32, expect Expect, version uint64) *Error {
	switch {
	case expected != 0 && expected != incarnation:
		return newWrongIncarnation(stream, expected, incarnation)
	case !expect.Holds(version):
		return NewWrongVersion(stream, expect, version)
	}
	return nil
}

// ExpectsIncarnation reports whether an element of c expects an incarnation of its stream.
func (c *Commit) ExpectsIncarnation() bool {
	return slices.ContainsFunc(c.Appends, func(a Append) bool { return a.Incarnation != 0 }) ||
		slices.ContainsFunc(c.Streams, func(op StreamOp) bool { return op.Incarnation != 0 })
}

// HasLinks reports whether c appends links.
func (c *Commit) HasLinks() bool {
	for i := range c.Appends {
		if len(c.Appends[i].Links) > 0 {
			return true
		}
	}
	return false
}

// Check is an expectation about a stream that the Commit may not write. A deleted or
// tombstoned stream passes only one that expects AnyVersion.
type Check struct {
	Stream string
	Expect Expect
}

// RecordOp puts, deletes or checks a record: a small value under a key of a
// table, such as a checkpoint. A record has a revision, which is 0 where there is
// no record. A put with an expectation raises it by 1; a put that expects
// AnyVersion raises it by 1 or more.
type RecordOp struct {
	Table, Key string
	// Expect is compared with the record's revision before the Commit: AnyVersion,
	// NoStream (there is no record), StreamExists (there is one) or the revision.
	Expect Expect
	Action RecordAction
	Value  []byte // of a put
}

// RecordAction is what a RecordOp does to its record once its expectation holds.
type RecordAction uint8

// The actions. The zero action is a put.
const (
	PutRecord RecordAction = iota
	DeleteRecord
	CheckRecord // changes nothing
)

// Expect is an expected version: a number ≥ 0 (0 = the stream has no events),
// AnyVersion, NoStream or StreamExists.
type Expect int64

// The expected versions that are not numbers. The values are those of the
// binary protocol.
const (
	AnyVersion   Expect = -1
	NoStream     Expect = -2
	StreamExists Expect = -3
)

// Holds reports whether a stream at version satisfies x.
func (x Expect) Holds(version uint64) bool {
	switch x {
	case AnyVersion:
		return true
	case NoStream:
		return version == 0
	case StreamExists:
		return version > 0
	}
	return x >= 0 && uint64(x) == version
}

// String is the form used on the wire and on the command line.
func (x Expect) String() string {
	switch x {
	case AnyVersion:
		return "any"
	case NoStream:
		return "no_stream"
	case StreamExists:
		return "stream_exists"
	}
	return strconv.FormatInt(int64(x), 10)
}

// ParseExpect is the inverse of String.
func ParseExpect(s string) (Expect, error) {
	switch s {
	case "any":
		return AnyVersion, nil
	case "no_stream":
		return NoStream, nil
	case "stream_exists":
		return StreamExists, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > MaxNumber {
		return 0, Errorf(CodeInvalidExpectedVersion, "%q is not an expected version", Clip(s))
	}
	return Expect(n), nil
}

// Result is where a Commit's events and links are.
type Result struct {
	// Appends has one entry for each of the Commit's.
	Appends []Appended
	// Position is that of the last event or link, or 0 if there is none.
	Position uint64
	// Duplicate reports that an earlier try had written all events and links, and that
	// nothing was written now. Appends has their places.
	Duplicate bool
	// Node is the name of the node that answered for the log, where that is not the Log
	// itself: the owner in a ring, or the node that a client is connected to.
	Node string
}

// Appended is where the events or links of one Append are.
type Appended struct {
	FirstVersion  uint64
	LastVersion   uint64
	FirstPosition uint64
	LastPosition  uint64
	// Incarnation is the stream's, where that is not 1.
	Incarnation uint32
}

// Count is the number of events or links.
func (a Appended) Count() int { return int(a.LastVersion - a.FirstVersion + 1) }

// Validate checks everything that does not need the log (P12). The error names the
// element.
func (c *Commit) Validate() error {
	if len(c.Appends) == 0 && len(c.Streams) == 0 && len(c.Records) == 0 && c.Progress == nil {
		return Errorf(CodeEmptyAppend, "the append has no events")
	}
	if len(c.Checks) > MaxCommitChecks {
		e := Errorf(CodeCommitTooLarge, "%d checks, the limit is %d", len(c.Checks), MaxCommitChecks)
		e.Limit = MaxCommitChecks
		return e
	}
	if len(c.Records) > MaxCommitRecords {
		e := Errorf(CodeCommitTooLarge, "%d records, the limit is %d", len(c.Records), MaxCommitRecords)
		e.Limit = MaxCommitRecords
		return e
	}
	events, bytes := 0, 0
	for i := range c.Appends {
		a := &c.Appends[i]
		if err := a.validate(c.System); err != nil {
			return atElement(err, i)
		}
		events += a.Count()
		bytes += a.size()
	}
	for i := range c.Checks {
		if err := validateTarget(c.Checks[i].Stream, c.Checks[i].Expect, false); err != nil {
			return atElement(err, len(c.Appends)+i)
		}
	}
	if err := c.validateStreams(); err != nil {
		return err
	}
	for i := range c.Records {
		if err := c.Records[i].validate(); err != nil {
			return atElement(err, len(c.Appends)+len(c.Checks)+len(c.Streams)+i)
		}
		bytes += c.Records[i].size()
	}
	if c.Progress != nil {
		if slices.ContainsFunc(c.Records, func(r RecordOp) bool { return r.Expect != AnyVersion }) {
			return Errorf(CodeInvalidRequest, "an append that moves a progress expects no revisions of records")
		}
		if err := c.Progress.validate(); err != nil {
			return err
		}
	}
	return validateSize(events, bytes)
}

func validateSize(events, bytes int) error {
	if events > MaxCommitEvents {
		e := Errorf(CodeCommitTooLarge, "%d events in one append, the limit is %d", events, MaxCommitEvents)
		e.Limit = MaxCommitEvents
		return e
	}
	if bytes > MaxCommitBytes {
		e := Errorf(CodeCommitTooLarge, "%d bytes in one append, the limit is %d", bytes, MaxCommitBytes)
		e.Limit = MaxCommitBytes
		return e
	}
	return nil
}

func atElement(err *Error, i int) *Error {
	err.Element = &i
	return err
}

func (a *Append) validate(system bool) *Error {
	if err := validateTarget(a.Stream, a.Expect, system); err != nil {
		return err
	}
	if (len(a.Events) == 0) == (len(a.Links) == 0) {
		e := Errorf(CodeEmptyAppend, "the append to stream %q has no events", Clip(a.Stream))
		if len(a.Events) > 0 {
			e = Errorf(CodeInvalidRequest, "the append to stream %q has both events and links", Clip(a.Stream))
		}
		e.Stream = a.Stream
		return e
	}
	for i := range a.Links {
		if a.Links[i].IsZero() {
			e := Errorf(CodeInvalidEventID, "link %d of stream %q names no event", i, Clip(a.Stream))
			e.Stream = a.Stream
			return e
		}
	}
	for i := range a.Events {
		if err := a.Events[i].validate(); err != nil {
			err.Detail = fmt.Sprintf("event %d of stream %q: %s", i, Clip(a.Stream), err.Detail)
			err.Stream = a.Stream
			return err
		}
	}
	return nil
}

// size is how much a counts against MaxCommitBytes.
func (a *Append) size() (n int) {
	for i := range a.Events {
		n += a.Events[i].size()
	}
	return n + len(a.Links)*len(ID{})
}

func validateTarget(stream string, x Expect, system bool) *Error {
	validate := validateStream
	if system && stream != All {
		validate = validateName
	}
	if err := validate(stream); err != nil {
		return err
	}
	if x < StreamExists || x > MaxNumber {
		e := Errorf(CodeInvalidExpectedVersion, "%d is not an expected version", int64(x))
		e.Stream = stream
		return e
	}
	return nil
}

// earliest and latest bound event times to the range of int64 nanoseconds, which every
// client's language can represent.
var (
	earliest = time.Unix(0, math.MinInt64)
	latest   = time.Unix(0, math.MaxInt64)
)

func (e *NewEvent) validate() *Error {
	switch {
	case e.Type == "" || len(e.Type) > MaxEventTypeBytes || !printable(e.Type):
		return Errorf(CodeInvalidEventType, "%q is not an event type", Clip(e.Type))
	case e.Format > Bytes:
		return Errorf(CodeInvalidData, "data format %d is not supported", e.Format)
	case len(e.ContentType) > MaxContentTypeBytes || !printable(e.ContentType):
		return Errorf(CodeInvalidContentType, "%q is not a content type", Clip(e.ContentType))
	case e.Format == JSON && len(e.Data) == 0:
		return Errorf(CodeInvalidData, "a JSON event needs data; null is a value")
	case !e.Time.IsZero() && (e.Time.Before(earliest) || e.Time.After(latest)):
		return Errorf(CodeInvalidEventTime, "%s is out of range", e.Time.Format(time.RFC3339))
	case e.size() > MaxEventBytes:
		err := Errorf(CodeEventTooLarge, "data and metadata are %d bytes, the limit is %d", e.size(), MaxEventBytes)
		err.Limit = MaxEventBytes
		return err
	}
	if e.Format == JSON {
		if err := checkJSON("data", e.Data); err != nil {
			return err
		}
	}
	return checkJSON("metadata", e.Metadata)
}

// size is how much a record counts against MaxCommitBytes.
func (r *RecordOp) size() int { return len(r.Table) + len(r.Key) + len(r.Value) }

func (r *RecordOp) validate() *Error {
	name := len(r.Table) + len(r.Key)
	switch {
	case r.Table == "" || r.Key == "" || name > MaxRecordKeyBytes || !printable(r.Table) || !utf8.ValidString(r.Key):
		return Errorf(CodeInvalidRequest, "%q/%q is not a record's table and key", Clip(r.Table), Clip(r.Key))
	case r.Action > CheckRecord:
		return Errorf(CodeInvalidRequest, "%d is not an action on a record", r.Action)
	case r.Expect < StreamExists || r.Expect > MaxNumber:
		return Errorf(CodeInvalidExpectedVersion, "%d is not an expected revision", int64(r.Expect))
	case len(r.Value) > MaxRecordValueBytes:
		err := Errorf(CodeCommitTooLarge, "record %q/%q has %d bytes, the limit is %d",
			Clip(r.Table), Clip(r.Key), len(r.Value), MaxRecordValueBytes)
		err.Limit = MaxRecordValueBytes
		return err
	}
	return nil
}

// validate checks r, of which parts may come from a client.
func (r *RecordsRequest) validate() error {
	if r.Table == "" || len(r.Table) > MaxRecordKeyBytes || !printable(r.Table) {
		return Errorf(CodeInvalidRequest, "%q is not a table of records", Clip(r.Table))
	}
	if len(r.Keys) > MaxCommitRecords {
		return Errorf(CodeInvalidRequest, "%d keys, the limit is %d", len(r.Keys), MaxCommitRecords)
	}
	bad := func(key string) bool { return len(key) > MaxRecordKeyBytes || !utf8.ValidString(key) }
	if bad(r.Prefix) || bad(r.After) || slices.ContainsFunc(r.Keys, bad) {
		return Errorf(CodeInvalidRequest, "what is asked for of table %q cannot be a record's key", r.Table)
	}
	return r.validateRanges(bad)
}

func (r *RecordsRequest) validateRanges(bad func(key string) bool) error {
	if len(r.Ranges) > MaxCommitRecords || r.Ranges != nil && (r.Keys != nil || r.Prefix != "") {
		return Errorf(CodeInvalidRequest, "%d ranges, %d keys and the prefix %q; only one of them is looked for, and no more than %d ranges",
			len(r.Ranges), len(r.Keys), Clip(r.Prefix), MaxCommitRecords)
	}
	last := ""
	for _, k := range r.Ranges {
		if bad(k.After) || bad(k.Before) || k.After < last || k.Before < k.After {
			return Errorf(CodeInvalidRequest, "the range from %q to %q is not one, or not in order", Clip(k.After), Clip(k.Before))
		}
		last = k.Before
	}
	return nil
}

// IsSystem reports whether a name is that of a stream of the system: only the node writes
// it, and $all passes over its events unless the reader asks for them.
func IsSystem(stream string) bool { return stream != "" && stream[0] == '$' }

// ValidateStream checks a name as that of a stream that clients append to.
func ValidateStream(name string) error {
	if err := validateStream(name); err != nil {
		return err
	}
	return nil
}

// ValidateReadable checks a name as that of a stream to read or to follow, or as $all.
func ValidateReadable(name string) error {
	if err := validateName(name); err != nil {
		return err
	}
	return nil
}

func validateStream(name string) *Error {
	if IsSystem(name) {
		e := Errorf(CodeReservedStreamName, "stream %q cannot be written", Clip(name))
		e.Stream = name
		return e
	}
	return validateName(name)
}

// validateName checks the form of a stream's name. It takes $all for one.
func validateName(name string) *Error {
	// Clients and proxies take the path segments . and .. for steps, however they are
	// escaped: a request for such a stream arrives at another path.
	if name == "" || name == "." || name == ".." || name == "$" || len(name) > MaxStreamNameBytes || !printable(name) {
		return Errorf(CodeInvalidStreamName, "%q is not a stream name", Clip(name))
	}
	return nil
}

// ValidateListing checks the parameters of a page of names: their prefix, and the last
// name of the page before. Both may be empty.
func ValidateListing(prefix, after string) error {
	if len(prefix) > MaxStreamNameBytes || !printable(prefix) {
		return Errorf(CodeInvalidRequest, "no name begins with the prefix %q", Clip(prefix))
	}
	if len(after) > MaxStreamNameBytes || !printable(after) {
		return Errorf(CodeInvalidCursor, "%q is not a name to go on after", Clip(after))
	}
	return nil
}

// printable reports whether s is valid UTF-8 without control characters.
func printable(s string) bool {
	ascii := true
	for i := range len(s) {
		c := s[i]
		if c < 0x20 || c == 0x7f {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return true
	}
	for _, r := range s {
		if r >= 0x80 && r < 0xa0 {
			return false
		}
	}
	return utf8.ValidString(s)
}
