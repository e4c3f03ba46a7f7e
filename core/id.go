package core

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// ID is an event id: a UUID. The zero ID means "none given".
type ID [16]byte

// NewID makes a UUIDv7: 48 bits of Unix milliseconds, 12 bits of the fraction
// below, 62 random bits. IDs made one after another by one process sort in
// that order to within 0.25 µs. Safe for concurrent use.
func NewID() ID {
	now := time.Now()
	ms := uint64(now.UnixMilli())
	sub := uint64(now.Nanosecond()%1_000_000) * 4096 / 1_000_000

	var id ID
	binary.BigEndian.PutUint64(id[:8], ms<<16|0x7000|sub)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()>>2|1<<63)
	return id
}

// IsZero reports whether no id was given.
func (id ID) IsZero() bool { return id == ID{} }

// String is the canonical form: 8-4-4-4-12 lower-case hex digits.
func (id ID) String() string {
	var b [36]byte
	id.encode(&b)
	return string(b[:])
}

// AppendText appends the canonical form to b.
func (id ID) AppendText(b []byte) ([]byte, error) {
	var t [36]byte
	id.encode(&t)
	return append(b, t[:]...), nil
}

// MarshalText returns the canonical form.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText is ParseID.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

func (id ID) encode(b *[36]byte) {
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
}

// ParseID reads the canonical form, in either case. Any other form, and the
// nil UUID, is an invalid_event_id.
func ParseID(s string) (ID, error) {
	var id ID
	bad := func() (ID, error) {
		return ID{}, Errorf(CodeInvalidEventID, "%q is not a UUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", Clip(s))
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return bad()
	}
	var digits [32]byte
	n := copy(digits[:], s[0:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:36])
	if _, err := hex.Decode(id[:], digits[:]); err != nil || id.IsZero() {
		return bad()
	}
	return id, nil
}
