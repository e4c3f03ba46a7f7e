package wasm

import (
	"crypto/sha256"
	"math/rand/v2"

	"github.com/gyre-events/gyre/plugins/abi"
)

// random is a stream of bytes that depends on the binding's seed and the current event only,
// so that an event that is handled again gets the same.
type random struct {
	seed   [32]byte
	event  abi.ID
	seeded bool
	source rand.ChaCha8
}

// begin starts the stream of an event. The zero id is the time before the first event.
func (r *random) begin(event abi.ID) { r.event, r.seeded = event, false }

func (r *random) fill(b []byte) {
	if !r.seeded {
		var both [48]byte
		copy(both[:], r.seed[:])
		copy(both[32:], r.event[:])
		r.source.Seed(sha256.Sum256(both[:]))
		r.seeded = true
	}
	_, _ = r.source.Read(b) // never fails
}

// fillRandom fills memory of the guest, and looks at its time once each MiB.
func (in *Instance) fillRandom(at, n uint64) {
	for rest := in.bytes(at, n); len(rest) > 0; {
		part := rest[:min(len(rest), 1<<20)]
		in.random.fill(part)
		in.tank.check()
		rest = rest[len(part):]
	}
}
