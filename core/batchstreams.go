package core

import (
	"hash/maphash"
	"slices"
	"sync"
)

// batchStreams is the streams of a batch in the tail, so that a follower of one stream that is
// behind skips the batches without it. It is made when the first such follower comes.
type batchStreams struct {
	once   sync.Once
	hashes []uint32 // of the streams' names, in order
}

// streamSeed is for the hashes of this process.
var streamSeed = maphash.MakeSeed()

func hashStream(name string) uint32 { return uint32(maphash.String(streamSeed, name)) }

// mayHave reports whether b, which is the batch of s, may have events of a stream
// with a hash.
func (s *batchStreams) mayHave(b *Batch, hash uint32) bool {
	s.once.Do(func() { s.hashes = streamHashes(b) })
	_, found := slices.BinarySearch(s.hashes, hash)
	return found
}

func streamHashes(b *Batch) []uint32 {
	hashes := make([]uint32, 0, b.Count)
	for rest := b.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		hashes = append(hashes, hashStream(h.stream))
		rest = rest[h.size:]
	}
	slices.Sort(hashes)
	return slices.Clip(slices.Compact(hashes))
}
