package disk

import (
	"encoding/binary"
	"math/bits"
)

// bloom is a set of hashes that may say yes to others, about one in a hundred:
// a blocked Bloom filter, in which a key touches one cache line.
type bloom struct {
	words []uint64 // eight to a line
	lines uint64
}

const (
	bloomBitsPerKey = 12
	bloomProbes     = 6
	lineBits        = 512
	lineWords       = lineBits / 64
)

func newBloom(keys int) bloom {
	lines := uint64(max(1, (keys*bloomBitsPerKey+lineBits-1)/lineBits))
	return bloom{words: make([]uint64, lines*lineWords), lines: lines}
}

// line is where a key's bits are; probes has nine bits for each of them.
func (b *bloom) line(hash uint64) (line, probes uint64) {
	hi, _ := bits.Mul64(hash, b.lines)
	return hi * lineWords, mum(hash^mixA, mixB)
}

func (b *bloom) add(hash uint64) {
	line, probes := b.line(hash)
	for range bloomProbes {
		b.words[line+probes>>6&7] |= 1 << (probes & 63)
		probes >>= 9
	}
}

func (b *bloom) has(hash uint64) bool {
	line, probes := b.line(hash)
	for range bloomProbes {
		if b.words[line+probes>>6&7]&(1<<(probes&63)) == 0 {
			return false
		}
		probes >>= 9
	}
	return true
}

func (b *bloom) encode() []byte {
	out := make([]byte, 0, 8*len(b.words))
	for _, w := range b.words {
		out = binary.LittleEndian.AppendUint64(out, w)
	}
	return out
}

func decodeBloom(b []byte) (bloom, bool) {
	if len(b) == 0 || len(b)%(8*lineWords) != 0 {
		return bloom{}, false
	}
	words := make([]uint64, len(b)/8)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return bloom{words, uint64(len(words)) / lineWords}, true
}
