package effects

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// write is one staged change of the lane's state.
type write struct {
	event int
	key   string
	Value
}

// Put is plugins.Effects'.
func (x *Stage) Put(event int, key, value []byte) abi.Errno {
	return x.write(event, key, Value{value, true})
}

// Delete is plugins.Effects'.
func (x *Stage) Delete(event int, key []byte) abi.Errno { return x.write(event, key, Value{}) }

func (x *Stage) write(event int, key []byte, v Value) abi.Errno {
	e := x.change(event, key, v)
	x.steps.write(key, v, x.whyNot(e))
	return e
}

func (x *Stage) change(event int, key []byte, v Value) abi.Errno {
	if len(v.Bytes) > abi.MaxValueBytes {
		return x.refuse(abi.TooLarge, "a value of the state has at most %d bytes", abi.MaxValueBytes)
	}
	if e := x.checkKey(key); e != abi.OK {
		return e
	}
	if event < 0 || event >= len(x.sources) || x.isBehind(event) {
		return x.refuse(abi.Invalid, disordered)
	}
	w := write{event: event, key: string(key), Value: v}
	size := v.Size(w.key)
	growth := size - x.sizeOf(w.key, false)
	if limit := x.terms.binding.Limits.StateBytes; growth > 0 && x.ground.StateBytes()+x.growth+growth > limit {
		if growth = size - x.sizeOf(w.key, true); x.storage != nil {
			return abi.IO
		}
		if growth > 0 && x.ground.StateBytes()+x.growth+growth > limit {
			return x.refuse(abi.Quota, "the state of the binding has at most %d bytes (limits.stateBytes)", limit)
		}
	}
	if len(x.writes) >= abi.MaxStateWrites {
		return x.refuse(abi.Quota, "a batch makes at most %d changes of state", abi.MaxStateWrites)
	}
	if e := x.spend(len(key) + len(v.Bytes)); e != abi.OK {
		return e
	}
	x.growth += growth
	w.Bytes = x.keep(v.Bytes)
	x.latest[w.key] = len(x.writes)
	x.writes = append(x.writes, w)
	return abi.OK
}

func (x *Stage) checkKey(key []byte) abi.Errno {
	if e := x.mayUseState(); e != abi.OK {
		return e
	}
	if e := abi.CheckKey(key); e != abi.OK {
		return x.refuse(e, "a key of the state has from 1 to %d bytes of UTF-8", abi.MaxStateKeyBytes)
	}
	return abi.OK
}

func (x *Stage) mayUseState() abi.Errno { return x.grants(plugins.CanUseState, "to use state", "") }

// sizeOf is how much a key counts at the moment. What the ground does not know is not looked up
// unless look is set, and counts nothing.
func (x *Stage) sizeOf(key string, look bool) int64 {
	if i, ok := x.latest[key]; ok {
		return x.writes[i].Size(key)
	}
	v, known := x.ground.Peek(key)
	if !known && look {
		v, x.storage = x.ground.Get(x.ctx, key)
	}
	return v.Size(key)
}

// Get is plugins.Reads'.
func (x *Stage) Get(key []byte) ([]byte, abi.Errno) {
	if e := x.checkKey(key); e != abi.OK {
		return nil, e
	}
	var v Value
	if i, ok := x.latest[string(key)]; ok {
		v = x.writes[i].Value
	} else {
		var err error
		if v, err = x.ground.Get(x.ctx, string(key)); err != nil {
			x.storage = err
			return nil, abi.IO
		}
	}
	if !v.OK {
		return nil, abi.NotFound
	}
	return v.Bytes, abi.OK
}

// Scan is plugins.Reads'. It merges the ground with what is staged.
func (x *Stage) Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno) {
	if e := x.mayUseState(); e != abi.OK {
		return nil, e
	}
	switch {
	case len(prefix) > abi.MaxStateKeyBytes || len(after) > abi.MaxStateKeyBytes:
		return nil, abi.TooLarge
	case !utf8.Valid(prefix) || !utf8.Valid(after):
		return nil, abi.Invalid
	}
	s := NewScan(x.ground.Page, string(prefix), string(after))
	for key, i := range x.latest {
		s.Over(key, x.writes[i].Value)
	}
	x.entry = x.entry[:0]
	for n := 0; n < limit; n++ {
		e, ok, err := s.Next(x.ctx)
		if err != nil {
			x.storage = err
			return nil, abi.IO
		}
		if !ok || len(x.entry)+8+len(e.Key)+len(e.Value) > size {
			break
		}
		x.entry = binary.LittleEndian.AppendUint32(x.entry, uint32(len(e.Key)))
		x.entry = binary.LittleEndian.AppendUint32(x.entry, uint32(len(e.Value)))
		x.entry = append(append(x.entry, e.Key...), e.Value...)
	}
	return x.entry, abi.OK
}

// Scan goes through state in the order of keys: what is below, with changes over it.
type Scan struct {
	page          func(ctx context.Context, prefix, after string) ([]Entry, error)
	prefix, after string
	over          []overlaid // to come
	sorted        bool
	below         []Entry // of the page, to come
	more          bool    // there may be more below
}

// overlaid is a key with what it is changed to.
type overlaid struct {
	key string
	Value
}

// NewScan returns a Scan of the keys with a prefix behind a key. page is as Ground.Page.
func NewScan(page func(ctx context.Context, prefix, after string) ([]Entry, error), prefix, after string) *Scan {
	return &Scan{page: page, prefix: prefix, after: after, more: true}
}

// Over adds a change, before the first Next. A key is changed once.
func (s *Scan) Over(key string, v Value) {
	if strings.HasPrefix(key, s.prefix) && key > s.after {
		s.over = append(s.over, overlaid{key, v})
	}
}

// Next returns the next entry. ok is false at the end.
func (s *Scan) Next(ctx context.Context) (e Entry, ok bool, err error) {
	if !s.sorted {
		slices.SortFunc(s.over, func(a, b overlaid) int { return strings.Compare(a.key, b.key) })
		s.sorted = true
	}
	for {
		if len(s.below) == 0 && s.more {
			if err := s.read(ctx); err != nil {
				return e, false, err
			}
		}
		switch {
		case len(s.over) > 0 && (len(s.below) == 0 || s.over[0].key <= s.below[0].Key):
			o := s.over[0]
			if len(s.below) > 0 && s.below[0].Key == o.key {
				s.below = s.below[1:]
			}
			if s.over = s.over[1:]; o.OK {
				return Entry{o.key, o.Bytes}, true, nil
			}
		case len(s.below) > 0:
			e, s.below = s.below[0], s.below[1:]
			return e, true, nil
		default:
			return e, false, nil
		}
	}
}

// Page returns the next entries, as Ground.Page does.
func (s *Scan) Page(ctx context.Context) ([]Entry, error) {
	page := make([]Entry, 0, PageEntries)
	for len(page) < PageEntries {
		e, ok, err := s.Next(ctx)
		if err != nil || !ok {
			return page, err
		}
		page = append(page, e)
	}
	return page, nil
}

// read reads the next page of what is below.
func (s *Scan) read(ctx context.Context) (err error) {
	if s.below, err = s.page(ctx, s.prefix, s.after); err != nil {
		return err
	}
	if s.more = len(s.below) == PageEntries; s.more {
		s.after = s.below[PageEntries-1].Key
	}
	return nil
}

// Grown is how much the state grows by what is staged. It reads what is overwritten, as far
// as that is not known.
func (x *Stage) Grown(ctx context.Context) (n int64, err error) {
	var unknown []string
	for key, i := range x.latest {
		n += x.writes[i].Size(key)
		v, known := x.ground.Peek(key)
		n -= v.Size(key)
		if !known {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return n, nil
	}
	stored, err := x.ground.Sizes(ctx, unknown)
	return n - stored, err
}
