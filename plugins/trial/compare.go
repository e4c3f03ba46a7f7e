package trial

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// Deed is what a version did with an event: in full, by digests, and in short to be shown.
type Deed struct {
	position        uint64
	fate            plugins.Fate
	outputs, writes [sha256.Size]byte
	shown           plugins.Difference // without Against
}

// maxDeedBytes bounds what is shown of a deed.
const maxDeedBytes = 16 << 10

// DeedOf returns what a version did with an event. show has it be shown.
func DeedOf(s *Settled, show bool) Deed {
	d := Deed{position: s.Event.Position, fate: s.Fate}
	sum := digest{sha256.New()}
	for a := range s.Appends() {
		sum.append(a)
	}
	d.outputs = sum.end()
	last := map[string]effects.Value{}
	for key, v := range s.Writes() {
		last[key] = v
	}
	keys := slices.Sorted(maps.Keys(last))
	for _, key := range keys {
		sum.text(key)
		sum.number(uint64(bit(last[key].OK)))
		sum.text(string(last[key].Bytes))
	}
	d.writes = sum.end()
	if show {
		d.show(s, keys, last)
	}
	return d
}

// show fills in what is shown, as far as there is room.
func (d *Deed) show(s *Settled, keys []string, last map[string]effects.Value) {
	e := s.Event
	d.shown = plugins.Difference{Position: e.Position, Stream: strings.Clone(e.Stream), Type: strings.Clone(e.Type), Lane: s.Lane}
	did := &d.shown.Tried
	*did = plugins.Deed{Fate: s.Fate, Outputs: []plugins.OutputEvent{}, Writes: []plugins.Write{}}
	if s.Fate == plugins.Parked && s.Failure != nil {
		did.Reason = s.Failure.Reason[:min(len(s.Failure.Reason), maxDeedBytes)]
	}
	room := room{plugins.MaxShown, maxDeedBytes}
	for a := range s.Appends() {
		for i := range a.Events {
			if room.take(len(a.Stream) + len(a.Events[i].Data) + len(a.Events[i].Metadata)) {
				did.Outputs = append(did.Outputs, outputOf(e.Position, a, i))
			}
		}
	}
	for _, key := range keys {
		v := last[key]
		if !room.take(len(key) + len(v.Bytes)) {
			continue
		}
		w := plugins.Write{Key: key}
		if v.OK {
			w.Content = new(plugins.ContentOf(slices.Clone(v.Bytes)))
		}
		did.Writes = append(did.Writes, w)
	}
}

// digest makes a digest of values, each with its length before it.
type digest struct{ hash.Hash }

func (d digest) number(n uint64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	_, _ = d.Write(b[:]) // it never fails
}

func (d digest) text(s string) {
	d.number(uint64(len(s)))
	_, _ = d.Write([]byte(s)) // it never fails
}

func (d digest) append(a *core.Append) {
	d.text(a.Stream)
	d.number(uint64(a.Expect))
	d.number(uint64(len(a.Events)))
	for i := range a.Events {
		e := &a.Events[i]
		d.text(e.Type)
		d.number(uint64(e.Format))
		d.text(string(e.Data))
		d.text(string(e.Metadata))
	}
}

// end returns the digest, and begins the next.
func (d digest) end() (sum [sha256.Size]byte) {
	d.Sum(sum[:0])
	d.Reset()
	return sum
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Comparison compares what two versions did, event by event.
type Comparison struct {
	plugins.Differences
	room    room
	pending map[uint64]half
}

// half is what one of the two did.
type half struct {
	Deed
	against bool
}

// NewComparison returns a Comparison that lists so many differences.
func NewComparison(show int) *Comparison {
	return &Comparison{Differences: plugins.Differences{First: []plugins.Difference{}}, room: newRoom(show), pending: map[uint64]half{}}
}

// Watch returns a Config.Watch: of the version that is tried, or of the one that it is tried
// against.
func (c *Comparison) Watch(against bool) func(*Settled) {
	return func(s *Settled) {
		d := half{DeedOf(s, c.room.entries > 0), against}
		other, ok := c.pending[d.position]
		if !ok || other.against == against {
			c.pending[d.position] = d
			return
		}
		delete(c.pending, d.position)
		if against {
			c.Add(other.Deed, d.Deed)
		} else {
			c.Add(d.Deed, other.Deed)
		}
	}
}

// Add compares what the version that is tried did with an event, and what the other did. It
// returns whether they differ.
func (c *Comparison) Add(tried, against Deed) (differ bool) {
	outputs, writes, fates := tried.outputs != against.outputs, tried.writes != against.writes, tried.fate != against.fate
	if !outputs && !writes && !fates {
		return false
	}
	c.Events++
	c.Outputs += bit(outputs)
	c.Writes += bit(writes)
	c.Fates += bit(fates)
	if c.room.take(2 * maxDeedBytes) {
		c.First = append(c.First, Difference(tried, against))
	}
	return true
}

// Difference is what is shown of two deeds that differ.
func Difference(tried, against Deed) plugins.Difference {
	d := tried.shown
	d.Against = against.shown.Tried
	return d
}
