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

// Deed is what a version did with an event, by digests.
type Deed struct {
	position        uint64
	fate            plugins.Fate
	outputs, writes [sha256.Size]byte
}

// maxDeedBytes bounds what is shown of what a version did with an event.
const maxDeedBytes = 16 << 10

// DeedOf returns what a version did with an event.
func DeedOf(s *Settled) Deed {
	d := Deed{position: s.Event.Position, fate: s.Fate}
	sum := digest{sha256.New()}
	for a := range s.Appends() {
		sum.append(a)
	}
	d.outputs = sum.end()
	keys, last := lastWrites(s)
	for _, key := range keys {
		sum.text(key)
		sum.number(uint64(bit(last[key].OK)))
		sum.text(string(last[key].Bytes))
	}
	d.writes = sum.end()
	return d
}

// lastWrites are the last changes of each key, and the keys in order.
func lastWrites(s *Settled) (keys []string, last map[string]effects.Value) {
	last = map[string]effects.Value{}
	for key, v := range s.Writes() {
		last[key] = v
	}
	return slices.Sorted(maps.Keys(last)), last
}

// Differs says in what two deeds of the same event differ.
func (d Deed) Differs(other Deed) (outputs, writes, fates bool) {
	return d.outputs != other.outputs, d.writes != other.writes, d.fate != other.fate
}

// Describe describes an event, and what a version did with it, without what is beyond so many bytes.
// size is how many it has.
func Describe(s *Settled, most int) (d plugins.Difference, size int) {
	e := s.Event
	d = plugins.Difference{Position: e.Position, Stream: strings.Clone(e.Stream), Type: strings.Clone(e.Type), Lane: s.Lane}
	did := &d.Tried
	*did = plugins.Deed{Fate: s.Fate, Outputs: []plugins.OutputEvent{}, Writes: []plugins.Write{}}
	if s.Fate == plugins.Parked && s.Failure != nil {
		did.Reason = strings.ToValidUTF8(s.Failure.Reason[:min(len(s.Failure.Reason), most)], "�")
	}
	room := room{plugins.MaxShown, most}
	for a := range s.Appends() {
		for i := range a.Events {
			if room.take(len(a.Stream) + len(a.Events[i].Data) + len(a.Events[i].Metadata)) {
				did.Outputs = append(did.Outputs, outputOf(e.Position, a, i))
			}
		}
	}
	keys, last := lastWrites(s)
	for _, key := range keys {
		v := last[key]
		if !room.take(len(key) + len(v.Bytes)) {
			break
		}
		w := plugins.Write{Key: key}
		if v.OK {
			w.Content = new(plugins.ContentOf(slices.Clone(v.Bytes)))
		}
		did.Writes = append(did.Writes, w)
	}
	return d, len(d.Stream) + len(d.Type) + len(did.Reason) + most - room.bytes
}

// Described is a Deed that can be shown.
type Described struct {
	Deed
	shown plugins.Difference // without Against
	size  int
}

// DescribedOf returns what a version did with an event, to be shown up to 16 KiB.
func DescribedOf(s *Settled) Described {
	d := Described{Deed: DeedOf(s)}
	d.shown, d.size = Describe(s, maxDeedBytes)
	return d
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
	Described
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
		d := half{Described{Deed: DeedOf(s)}, against}
		if c.room.entries > 0 {
			d.Described = DescribedOf(s)
		}
		other, ok := c.pending[d.position]
		switch {
		case !ok || other.against == against:
			c.pending[d.position] = d
			return
		case against:
			c.Add(other.Described, d.Described)
		default:
			c.Add(d.Described, other.Described)
		}
		delete(c.pending, d.position)
	}
}

// Add compares what the version that is tried did with an event, and what the other did. It returns
// whether they differ.
func (c *Comparison) Add(tried, against Described) (differ bool) {
	outputs, writes, fates := tried.Differs(against.Deed)
	if !outputs && !writes && !fates {
		return false
	}
	c.Events++
	c.Outputs += bit(outputs)
	c.Writes += bit(writes)
	c.Fates += bit(fates)
	if c.room.take(tried.size + against.size) {
		d := tried.shown
		d.Against = against.shown.Tried
		c.First = append(c.First, d)
	}
	return true
}
