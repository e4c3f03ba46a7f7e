package disk

import (
	"encoding/binary"
	"slices"
	"sort"
)

// lists are where the events of some kinds are in a segment.
type lists struct {
	of   []placeList
	file *kindsFile // that they are read from; nil if they are in memory
}

func (l *lists) close() {
	if l.file != nil {
		_ = l.file.Close()
	}
}

// placeList is where the events of a kind are in a segment, in order. It consists of blocks.
type placeList struct {
	count  int
	memory []uint32   // all of it, or
	file   *kindsFile // what it is read from, as
	entry  *kindEntry // says
}

// blockPlaces is how many places a block has, but for the last one. In a file it has a checksum
// of its own, so that a page reads what it needs.
const blockPlaces = 1024

// blockEntryBytes is what the directory of a file has of a block.
const blockEntryBytes = 8

func blocksOf(count int) int { return (count + blockPlaces - 1) / blockPlaces }

// first is the first place of a block.
func (x *kindEntry) first(block int) uint32 {
	return binary.LittleEndian.Uint32(x.blocks[blockEntryBytes*block:])
}

// sum is the checksum of a block.
func (x *kindEntry) sum(block int) uint32 {
	return binary.LittleEndian.Uint32(x.blocks[blockEntryBytes*block+4:])
}

func (l *placeList) first(block int) uint32 {
	if l.file == nil {
		return l.memory[block*blockPlaces]
	}
	return l.entry.first(block)
}

func (l *placeList) block(i int) ([]uint32, error) {
	if l.file == nil {
		return l.memory[i*blockPlaces : min((i+1)*blockPlaces, l.count)], nil
	}
	return l.file.block(l.entry, i)
}

// search returns the index of the first place that is at least off.
func (l *placeList) search(off uint32) (int, error) {
	next := sort.Search(blocksOf(l.count), func(i int) bool { return l.first(i) >= off })
	if next == 0 {
		return 0, nil
	}
	block, err := l.block(next - 1)
	i, _ := slices.BinarySearch(block, off)
	return (next-1)*blockPlaces + i, err
}

// slice returns the places from one index up to another.
func (l *placeList) slice(from, to int) ([]uint32, error) {
	if from >= to {
		return nil, nil
	}
	if l.file == nil {
		return l.memory[from:to], nil
	}
	places := make([]uint32, 0, to-from)
	for from < to {
		i := from / blockPlaces
		block, err := l.block(i)
		if err != nil {
			return nil, err
		}
		places = append(places, block[from-i*blockPlaces:min(to-i*blockPlaces, len(block))]...)
		from = (i + 1) * blockPlaces
	}
	return places, nil
}
