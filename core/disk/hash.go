package disk

import (
	"encoding/binary"
	"math/bits"

	"github.com/gyre-events/gyre/core"
)

// hashKey seeds the hashes of ids and names. It is random per log, kept in
// every segment header and kept secret, so that clients, who choose both,
// cannot choose them to collide. A hash is a hint all the same: whoever finds
// one compares the id or name itself.
type hashKey [2]uint64

const (
	mixA = 0x9e3779b97f4a7c15
	mixB = 0xd6e8feb86659fd93
)

// mum multiplies to 128 bits and folds.
func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (k hashKey) id(id *core.ID) uint64 {
	a := binary.LittleEndian.Uint64(id[:8])
	b := binary.LittleEndian.Uint64(id[8:])
	return mum(mum(a^k[0], b^k[1])^mixA, k[0]|mixB)
}

// link is what a link to the event with an id is found by in the stream it is in.
// It is another one than the event's, so that an event in a thousand streams is as
// quick to find as any.
func (k hashKey) link(stream string, id *core.ID) uint64 {
	return mum(k.id(id)^mixB, k.name(stream)^mixA)
}

// event is what e is found by.
func (k hashKey) event(e *core.Event) uint64 {
	if e.Link.IsZero() {
		return k.id(&e.ID)
	}
	return k.link(e.Stream, &e.ID)
}

func (k hashKey) name(s string) uint64 { return nameHash(k, s) }

func nameHash[T string | []byte](k hashKey, s T) uint64 {
	h := k[0] ^ uint64(len(s))*mixA
	for len(s) >= 8 {
		h = mum(h^word(s), k[1]|mixB)
		s = s[8:]
	}
	var last uint64
	for i := range len(s) {
		last |= uint64(s[i]) << (8 * i)
	}
	return mum(mum(h^last, k[1]^mixA), k[0]|mixB)
}

func word[T string | []byte](s T) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// idWindow bounds the ids of a part of the index. Ids of UUID version 7 begin
// with the time they were made at, so a part that was written an hour ago is
// passed over without a look into its filter; for the others there is no such
// bound.
type idWindow struct {
	first, last uint64 // Unix ms of the v7 ids; first > last where there are none
	others      uint64 // ids of any other version
}

func newIDWindow() idWindow { return idWindow{first: 1<<64 - 1} }

func (w *idWindow) add(id *core.ID) {
	if id[6]>>4 != 7 {
		w.others++
		return
	}
	ms := binary.BigEndian.Uint64(id[:8]) >> 16
	w.first, w.last = min(w.first, ms), max(w.last, ms)
}

func (w *idWindow) merge(o idWindow) {
	w.first, w.last = min(w.first, o.first), max(w.last, o.last)
	w.others += o.others
}

// meets reports whether an id of w may be among those of o.
func (w idWindow) meets(o idWindow) bool {
	return w.others > 0 && o.others > 0 || w.first <= o.last && o.first <= w.last
}
