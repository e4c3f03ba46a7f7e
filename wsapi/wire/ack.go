package wire

import (
	"encoding/binary"

	"github.com/gyre-events/gyre/core"
)

// The messages of a client about deliveries of a named subscription. Those with an
// id are answered by ok or error, those without by an error only.
type (
	// Ack finishes events: either those at Positions, or all that were sent up to and
	// including the one at UpTo.
	Ack struct {
		Op        string   `json:"op"`
		ID        uint64   `json:"id,omitzero"`
		Sub       uint64   `json:"sub"`
		Positions []uint64 `json:"positions,omitzero"`
		UpTo      uint64   `json:"upTo,omitzero"`
		Durable   bool     `json:"durable,omitzero"` // the answer says that it is stored
	}

	// Nack says that events could not be handled, and what is to become of them:
	// retry, park, skip or stop.
	Nack struct {
		Op        string   `json:"op"`
		ID        uint64   `json:"id,omitzero"`
		Sub       uint64   `json:"sub"`
		Positions []uint64 `json:"positions"`
		Action    string   `json:"action"`
		DelayMs   *int64   `json:"delayMs,omitzero"` // of retry; absent = the subscription's policy
		Reason    string   `json:"reason,omitzero"`
	}

	// Extend asks for more time to ack events.
	Extend struct {
		Op        string   `json:"op"`
		ID        uint64   `json:"id,omitzero"`
		Sub       uint64   `json:"sub"`
		Positions []uint64 `json:"positions"`
		Ms        int64    `json:"ms"`
	}
)

// Join adds the positions of another ack to a, where one ack can say what both do:
// they are of one sub, and nobody waits for an answer.
func (a *Ack) Join(o *Ack) bool {
	if a.Sub != o.Sub || a.Durable != o.Durable || a.ID != 0 || o.ID != 0 || len(a.Positions) == 0 || len(o.Positions) == 0 {
		return false
	}
	a.Positions = append(a.Positions, o.Positions...)
	return true
}

// AppendAck appends an ACK frame.
func AppendAck(dst []byte, a *Ack) []byte {
	flags, positions := byte(0), a.Positions
	if a.UpTo != 0 {
		flags, positions = flagUpTo, []uint64{a.UpTo}
	}
	if a.Durable {
		flags |= flagDurable
	}
	dst = append(dst, FrameAck, flags)
	dst = binary.AppendUvarint(dst, a.ID)
	dst = binary.AppendUvarint(dst, a.Sub)
	dst = binary.AppendUvarint(dst, uint64(len(positions)))
	return appendNumbers(dst, positions)
}

// Ack takes an ACK frame.
func (f *Frames) Ack() (Ack, error) {
	a := Ack{Op: "ack"}
	flags, err := f.header(flagUpTo | flagDurable)
	if err != nil {
		return a, err
	}
	a.Durable = flags&flagDurable != 0
	var count uint64
	if err := f.numbers(&a.ID, &a.Sub, &count); err != nil {
		return a, err
	}
	if a.Positions, err = f.list(count); err != nil {
		return a, err
	}
	if flags&flagUpTo != 0 {
		if count != 1 || a.Positions[0] == 0 {
			return a, core.Errorf(core.CodeProtocolError, "an ACK up to %d positions", count)
		}
		a.UpTo, a.Positions = a.Positions[0], nil
	}
	return a, nil
}
