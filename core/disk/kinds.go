package disk

import (
	"context"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// A kind is an event type or a category of streams. The kinds of a segment say where its
// events of each are, so that a read that selects events reads those alone. They are made
// by the first such read, from the segment: in memory for the segment that is written,
// which is read on from where it was read to, and as a file for the others (FORMAT.md,
// "Kinds"). Appends know nothing of them.
type kinds struct {
	rewritten uint64             // as the segment was then
	lists     map[kind]*[]uint32 // where the events are in the segment, in order; links are left out
	many      [2]bool            // by kind.category: there are more than maxKinds, and no lists
	counts    [2]int             // of lists
	end       int64              // everything before it in the segment is in the lists
	next      uint64             // the position of the event that comes then
	passed    bool               // or of a later one: frames before end were removed
}

// kind is a type, or a category.
type kind struct {
	category bool
	name     string
}

// maxKinds bounds the types of a segment that have lists, and the categories. A log where
// each stream is a category of its own has too many for lists to be of use.
const maxKinds = 4096

func (k kind) index() int {
	if k.category {
		return 1
	}
	return 0
}

// newKinds returns those of a segment of which nothing was read.
func newKinds(seg *segment) *kinds {
	return &kinds{rewritten: seg.rewritten, lists: make(map[kind]*[]uint32), end: headerBytes, next: seg.first}
}

// add adds an event. The name in of may be in a buffer that changes when add has returned, so
// the map is not assigned to under it: that would keep the name as the key.
func (k *kinds) add(of kind, off uint32) {
	if k.many[of.index()] {
		return
	}
	list := k.lists[of]
	if list == nil {
		if k.counts[of.index()] == maxKinds {
			k.many[of.index()] = true
			for other := range k.lists {
				if other.category == of.category {
					delete(k.lists, other)
				}
			}
			return
		}
		k.counts[of.index()]++
		of.name = strings.Clone(of.name)
		list = new([]uint32)
		k.lists[of] = list
	}
	*list = append(*list, off)
}

// lookedBytes is how many bytes that are read count as an event that is looked at.
const lookedBytes = 256

// readOn adds the events up to end. looked is what that has cost, in events. If ctx ends, what
// was read stays, and the next call goes on from there.
func (e *Engine) readOn(ctx context.Context, k *kinds, seg *segment, end int64) (looked uint64, err error) {
	if k.end >= end {
		return 0, nil
	}
	file, err := e.files.acquire(seg.number)
	if err != nil {
		return 0, cannotRead(err)
	}
	defer e.files.release(file)
	begins := false
	visit := visitor{
		frame: func(int64, *frameHeader) { begins = true },
		event: func(off int64, encoded []byte) error {
			if begins && ctx.Err() != nil {
				return core.AsError(ctx.Err()) // before anything of the frame is in the lists
			}
			begins = false
			var ev core.Event
			if !decode(encoded, &ev) {
				return corrupt(at(seg.number, off), "an event is malformed")
			}
			if isEvent(&ev) {
				k.add(kind{false, ev.Type}, uint32(off))
				k.add(kind{true, core.CategoryOf(ev.Stream)}, uint32(off))
			}
			return nil
		},
	}
	s := newScanner(file, end, segmentHeader{number: seg.number, salt: seg.salt, first: seg.first}, visit)
	s.at, s.next, s.passed = k.end, k.next, k.passed
	err = s.scan()
	looked = max(s.next-k.next, uint64(s.at-k.end)/lookedBytes)
	k.end, k.next, k.passed = s.at, s.next, s.passed
	if err == nil && s.at < end {
		err = corrupt(at(seg.number, s.at), "%s", s.invalid)
	}
	return looked, err
}

// choose returns the shortest lists that have all events that s selects. What they have now
// does not change.
func (k *kinds) choose(s *core.Selection) (lists, bool) {
	d := directory{many: k.many}
	for of, list := range k.lists {
		d.entries = append(d.entries, kindEntry{kind: of, count: len(*list)})
	}
	entries, ok := d.choose(s)
	if !ok {
		return lists{}, false
	}
	found := lists{of: make([]placeList, len(entries))}
	for i, x := range entries {
		list := *k.lists[x.kind]
		found.of[i] = placeList{count: len(list), memory: list}
	}
	return found, true
}

// directory is which lists a segment has.
type directory struct {
	entries []kindEntry
	many    [2]bool
}

type kindEntry struct {
	kind
	count  int
	at     int64  // in the file
	blocks []byte // for each the first place and the checksum
}

// choose returns the entries of the shortest lists that have all events that s selects.
func (d *directory) choose(s *core.Selection) (chosen []kindEntry, ok bool) {
	var of [2][]kindEntry
	var count [2]int
	for _, x := range d.entries {
		i := x.index()
		if x.category && x.name == s.Category || !x.category && core.MatchAny(s.Filter.Types, x.name) {
			of[i] = append(of[i], x)
			count[i] += x.count
		}
	}
	types, categories := len(s.Filter.Types) > 0 && !d.many[0], s.Category != "" && !d.many[1]
	switch {
	case types && (!categories || count[0] <= count[1]):
		return of[0], true
	case categories:
		return of[1], true
	}
	return nil, false
}
