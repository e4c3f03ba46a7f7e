package subscriptions

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// maxParkedStreams bounds a streamSet to a few MiB.
const maxParkedStreams = 1 << 17

// parkedStreams reports which incarnations may have parked events of some streams, so that a
// removal reads nothing of the others. It may report more of them: a look at everything parked
// replaces it. It is safe for concurrent use.
type parkedStreams struct {
	seed maphash.Seed

	mu    sync.Mutex // protects the fields below; no other lock is taken while it is held
	known streamSet
	next  *streamSet // replaces known when the look at everything ends that fills it; nil without
}

// streamSet is the streams of which something is parked, by incarnation.
type streamSet struct {
	parked map[parkedStream]struct{}
	full   bool // it may be any stream, of any incarnation
}

// parkedStream has the hash of a stream's name. Two names with the same hash cost a look.
type parkedStream struct {
	hash        uint64
	incarnation core.ID
}

// makeParkedStreams knows nothing, so that it reports everything.
func makeParkedStreams() parkedStreams {
	return parkedStreams{seed: maphash.MakeSeed(), known: streamSet{full: true}}
}

// add notes an event that is parked, or may be soon.
func (x *parkedStreams) add(incarnation string, p *parkedEvent) {
	id, err := core.ParseID(incarnation)
	if err != nil { // no subscription has such an incarnation
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, stream := range p.streams() {
		at := parkedStream{maphash.String(x.seed, stream), id}
		x.known.add(at)
		if x.next != nil {
			x.next.add(at)
		}
	}
}

func (s *streamSet) add(at parkedStream) {
	if s.full {
		return
	}
	s.parked[at] = struct{}{}
	if len(s.parked) > maxParkedStreams {
		*s = streamSet{full: true}
	}
}

// having returns the incarnations, in order, that may have parked events of any of some streams. It
// is not ok if these may be any.
func (x *parkedStreams) having(streams []string) (incarnations []string, ok bool) {
	removed := make(map[uint64]bool, len(streams))
	for _, stream := range streams {
		removed[maphash.String(x.seed, stream)] = true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for at := range x.known.parked {
		if removed[at.hash] {
			incarnations = append(incarnations, at.incarnation.String())
		}
	}
	slices.Sort(incarnations)
	return slices.Compact(incarnations), !x.known.full
}

// begin begins a look at everything, which calls add for each parked event, and then end.
func (x *parkedStreams) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.next = &streamSet{parked: map[parkedStream]struct{}{}}
}

// end forgets what was noted before begin.
func (x *parkedStreams) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.known, x.next = *x.next, nil
}
