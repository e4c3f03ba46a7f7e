package core

import (
	"encoding/binary"
	"strings"
	"time"
)

// Retention says which events of a stream expire. An expired event is in no read, follow,
// list or delivery of the Store, and a scavenge removes it. A zero field is no bound.
type Retention struct {
	// MaxAge expires what was recorded longer ago, by the clock of the node that reads. It
	// has whole milliseconds.
	MaxAge time.Duration
	// MaxCount expires all but so many of the last versions of the stream.
	MaxCount uint64
	// TruncateBefore expires the versions before it. It is of streams only, and never
	// decreases.
	TruncateBefore uint64
}

// IsZero reports whether nothing expires.
func (r Retention) IsZero() bool { return r == Retention{} }

// orElse is r with the fields of a default where r has none.
func (r Retention) orElse(d Retention) Retention {
	if r.MaxAge == 0 {
		r.MaxAge = d.MaxAge
	}
	if r.MaxCount == 0 {
		r.MaxCount = d.MaxCount
	}
	return r
}

// The bounds of a MaxAge.
const (
	MinRetentionAge = time.Second
	MaxRetentionAge = 100 * 365 * 24 * time.Hour
)

// Validate checks the numbers. The error is invalid_retention.
func (r Retention) Validate() error {
	switch {
	case r.MaxAge != 0 && (r.MaxAge < MinRetentionAge || r.MaxAge > MaxRetentionAge):
		return Errorf(CodeInvalidRetention, "a maximum age of %s is not between %s and %s", r.MaxAge, MinRetentionAge, MaxRetentionAge)
	case r.MaxAge%time.Millisecond != 0:
		return Errorf(CodeInvalidRetention, "a maximum age of %s is not in whole milliseconds", r.MaxAge)
	case r.MaxCount > MaxNumber || r.TruncateBefore > MaxNumber:
		return Errorf(CodeInvalidRetention, "%d events and version %d: one of them is greater than %d", r.MaxCount, r.TruncateBefore, uint64(MaxNumber))
	}
	return nil
}

// RetentionTarget names what has a policy of retention: a stream, or a category, whose policy
// has the defaults of its streams. One of the two is set.
type RetentionTarget struct{ Stream, Category string }

// What a key of a policy begins with, before the name.
const (
	streamRetention   = "stream\n"
	categoryRetention = "category\n"
)

// key is that of the record of the policy.
func (t RetentionTarget) key() string {
	if t.Stream != "" {
		return streamRetention + t.Stream
	}
	return categoryRetention + t.Category
}

// RetentionTargetOf returns the target of a key of RetentionTable, the zero one if it is none.
func RetentionTargetOf(key string) (t RetentionTarget) {
	if name, ok := strings.CutPrefix(key, streamRetention); ok {
		t.Stream = name
	} else if name, ok := strings.CutPrefix(key, categoryRetention); ok {
		t.Category = name
	}
	return t
}

// String names the target in messages.
func (t RetentionTarget) String() string {
	if t.Stream != "" {
		return "stream " + Clip(t.Stream)
	}
	return "category " + Clip(t.Category)
}

// Validate checks the name. Streams of the system have no retention.
func (t RetentionTarget) Validate() error {
	switch name := t.Stream + t.Category; {
	case (t.Stream == "") == (t.Category == ""):
		return Errorf(CodeInvalidRetention, "a policy is of a stream or of a category, one of them")
	case IsSystem(name):
		e := Errorf(CodeReservedStreamName, "%q is a name of the system, whose streams have no retention", Clip(name))
		e.Stream = t.Stream
		return e
	case t.Stream != "":
		return ValidateStream(t.Stream)
	case CategoryOf(t.Category) != t.Category:
		return Errorf(CodeInvalidRetention, "%q is not a category: that is the name of a stream before its first -", Clip(t.Category))
	}
	return ValidateStream(t.Category)
}

// RetentionTable is the table of the policies. A policy that is cleared leaves a record, so that
// its revisions go on: a put that is late could else take a new record for the one that it has
// read.
const RetentionTable = "retention"

// policy is a Retention as it is stored.
type policy struct {
	Retention
	// truncatedTo is the position up to which TruncateBefore is about events: a later
	// incarnation of the stream has its events behind it.
	truncatedTo uint64
}

// loosenedBy reports whether q in the place of p may show an event that p hides.
func (p policy) loosenedBy(q policy) bool {
	return p.MaxAge > 0 && (q.MaxAge == 0 || q.MaxAge > p.MaxAge) ||
		p.MaxCount > 0 && (q.MaxCount == 0 || q.MaxCount > p.MaxCount) ||
		q.TruncateBefore < p.TruncateBefore || p.TruncateBefore > 0 && q.truncatedTo < p.truncatedTo
}

// The form of a record:
//
//	u8 1 | uvarint max age, ms | uvarint max count | uvarint truncate before |
//	uvarint position up to which it truncates
//
// A policy that was cleared is u8 0.
const (
	retentionCleared = 0
	retentionSet     = 1
)

func (p *policy) encode() []byte {
	if p.IsZero() {
		return []byte{retentionCleared}
	}
	dst := binary.AppendUvarint([]byte{retentionSet}, uint64(p.MaxAge.Milliseconds()))
	dst = binary.AppendUvarint(dst, p.MaxCount)
	dst = binary.AppendUvarint(dst, p.TruncateBefore)
	return binary.AppendUvarint(dst, p.truncatedTo)
}

// clearsRetention reports whether the value of a record is that of a policy that was cleared.
func clearsRetention(value []byte) bool { return len(value) == 1 && value[0] == retentionCleared }

// decodePolicy decodes a record; the zero policy if it was cleared.
func decodePolicy(r *Record) (policy, error) {
	if clearsRetention(r.Value) {
		return policy{}, nil
	}
	d := decoder{b: r.Value, ok: true}
	form, age := d.byte(), d.uvarint()
	p := policy{Retention{MaxCount: d.uvarint(), TruncateBefore: d.uvarint()}, d.uvarint()}
	if d.ok && form == retentionSet && len(d.b) == 0 && age <= uint64(MaxRetentionAge.Milliseconds()) {
		p.MaxAge = time.Duration(age) * time.Millisecond
		if p.Validate() == nil {
			return p, nil
		}
	}
	return policy{}, Errorf(CodeStoreCorrupt, "the record of the retention of %s cannot be read", RetentionTargetOf(r.Key))
}
