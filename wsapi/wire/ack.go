package wire

import (
	"encoding/binary"

	"github.com/gyre-events/gyre/core"
)

// The messages of a client about deliveries of a named subscription. Those with an
// id are answered by ok or error, those without by an error only. They name events by their
// positions or, in a subscription to one stream, by their versions there.
type (
	// Ack finishes events: either those at Positions, or all that were sent up to and
	// including the one at UpTo; or the same by Versions and UpToVersion.
	Ack struct {
		Op          string   `json:"op"`
		ID          uint64   `json:"id,omitzero"`
		Sub         uint64   `json:"sub"`
		Positions   []uint64 `json:"positions,omitzero"`
		UpTo        uint64   `json:"upTo,omitzero"`
		Versions    []uint64 `json:"versions,omitzero"`
		UpToVersion uint64   `json:"upToVersion,omitzero"`
		Durable     bool     `json:"durable,omitzero"` // the answer says that it is stored
	}

	// Nack says that events could not be handled, and what is to become of them:
	// retry, park, skip or stop.
	Nack struct {
		Op        string   `json:"op"`
		ID        uint64   `json:"id,omitzero"`
		Sub       uint64   `json:"sub"`
		Positions []uint64 `json:"positions,omitzero"`
		Versions  []uint64 `json:"versions,omitzero"`
		Action    string   `json:"action"`
		DelayMs   *int64   `json:"delayMs,omitzero"` // of retry; absent = the subscription's policy
		Reason    string   `json:"reason,omitzero"`
	}

	// Extend asks for more time to ack events.
	Extend struct {
		Op        string   `json:"op"`
		ID        uint64   `json:"id,omitzero"`
		Sub       uint64   `json:"sub"`
		Positions []uint64 `json:"positions,omitzero"`
		Versions  []uint64 `json:"versions,omitzero"`
		Ms        int64    `json:"ms"`
	}
)

// Join adds the events of another ack to a, where one ack can say what both do: they are
// of one sub, name events in the same way, and nobody waits for an answer.
func (a *Ack) Join(o *Ack) bool {
	switch {
	case a.Sub != o.Sub || a.Durable != o.Durable || a.ID != 0 || o.ID != 0:
		return false
	case len(a.Positions) > 0 && len(o.Positions) > 0:
		a.Positions = append(a.Positions, o.Positions...)
	case len(a.Versions) > 0 && len(o.Versions) > 0:
		a.Versions = append(a.Versions, o.Versions...)
	default:
		return false
	}
	return true
}

// AppendAck appends an ACK frame.
func AppendAck(dst []byte, a *Ack) []byte {
	flags, names, upTo := byte(0), a.Positions, a.UpTo
	if len(a.Versions) > 0 || a.UpToVersion != 0 {
		flags, names, upTo = flagVersions, a.Versions, a.UpToVersion
	}
	if upTo != 0 {
		flags, names = flags|flagUpTo, []uint64{upTo}
	}
	if a.Durable {
		flags |= flagDurable
	}
	dst = append(dst, FrameAck, flags)
	dst = binary.AppendUvarint(dst, a.ID)
	dst = binary.AppendUvarint(dst, a.Sub)
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	return appendNumbers(dst, names)
}

// Ack takes an ACK frame.
func (f *Frames) Ack() (Ack, error) {
	a := Ack{Op: "ack"}
	flags, err := f.header(flagUpTo | flagDurable | flagVersions)
	if err != nil {
		return a, err
	}
	a.Durable = flags&flagDurable != 0
	var count uint64
	if err := f.numbers(&a.ID, &a.Sub, &count); err != nil {
		return a, err
	}
	names, upTo := &a.Positions, &a.UpTo
	if flags&flagVersions != 0 {
		names, upTo = &a.Versions, &a.UpToVersion
	}
	if *names, err = f.list(count); err != nil {
		return a, err
	}
	if flags&flagUpTo != 0 {
		if count != 1 || (*names)[0] == 0 {
			return a, core.Errorf(core.CodeProtocolError, "an ACK up to %d events", count)
		}
		*upTo, *names = (*names)[0], nil
	}
	return a, nil
}
