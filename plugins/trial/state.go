package trial

import (
	"context"
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
)

// State is the state of a binding in memory. A nil *State is empty.
type State struct {
	lanes []*btree.Map[string, []byte]
	bytes int64
}

// NewState returns the empty state of so many lanes.
func NewState(lanes int) *State {
	s := &State{lanes: make([]*btree.Map[string, []byte], lanes)}
	for i := range s.lanes {
		s.lanes[i] = &btree.Map[string, []byte]{}
	}
	return s
}

// Copy returns a copy, which shares with s what neither changes.
func (s *State) Copy() *State {
	c := &State{bytes: s.bytes}
	for _, lane := range s.lanes {
		c.lanes = append(c.lanes, lane.Copy())
	}
	return c
}

// Bytes is how large it is: its keys and values.
func (s *State) Bytes() int64 { return s.bytes }

// Set changes a key of a lane. The value belongs to s from then on. The error is
// dry_run_too_large.
func (s *State) Set(lane int, key string, v effects.Value) error {
	var before []byte
	var had bool
	if v.OK {
		before, had = s.lanes[lane].Set(key, v.Bytes)
	} else {
		before, had = s.lanes[lane].Delete(key)
	}
	s.bytes += v.Size(key) - effects.Value{Bytes: before, OK: had}.Size(key)
	if s.bytes > plugins.MaxDryRunBytes {
		return core.Errorf(core.CodeDryRunTooLarge, "the state has more than %d bytes", plugins.MaxDryRunBytes)
	}
	return nil
}

// Lane are the entries of a lane in the order of keys.
func (s *State) Lane(lane int) iter.Seq2[string, []byte] { return s.lanes[lane].Scan }

// get is a value of a lane.
func (s *State) get(lane int, key string) effects.Value {
	value, ok := s.lanes[lane].Get(key)
	return effects.Value{Bytes: value, OK: ok}
}

// page is effects.Ground.Page of a lane.
func (s *State) page(lane int, prefix, after string) (page []effects.Entry) {
	pivot := max(prefix, after)
	s.lanes[lane].Ascend(pivot, func(key string, value []byte) bool {
		switch {
		case key <= after:
			return true
		case !strings.HasPrefix(key, prefix):
			return false
		}
		page = append(page, effects.Entry{Key: key, Value: value})
		return len(page) < effects.PageEntries
	})
	return page
}

// Pages reads the entries of a lane's state behind a key, in the order of keys; none are left if
// there are none.
type Pages func(ctx context.Context, lane int, after string) ([]effects.Entry, error)

// CopyState reads the state of so many lanes. The error is dry_run_too_large, or of pages.
func CopyState(ctx context.Context, lanes int, pages Pages) (*State, error) {
	s := NewState(lanes)
	for lane := range lanes {
		for c := (cursor{pages: pages, lane: lane}); ; c.next() {
			e, err := c.peek(ctx)
			if err != nil {
				return nil, err
			}
			if e == nil {
				break
			}
			if err := s.Set(lane, e.Key, effects.Value{Bytes: e.Value, OK: true}); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// Pages is Pages of s.
func (s *State) Pages(_ context.Context, lane int, after string) ([]effects.Entry, error) {
	return s.page(lane, "", after), nil
}

// cursor goes through the entries of a lane.
type cursor struct {
	pages Pages
	lane  int
	after string
	page  []effects.Entry
	ended bool
}

// peek is the next entry; nil at the end.
func (c *cursor) peek(ctx context.Context) (*effects.Entry, error) {
	if len(c.page) == 0 && !c.ended {
		var err error
		if c.page, err = c.pages(ctx, c.lane, c.after); err != nil {
			return nil, err
		}
		if c.ended = len(c.page) == 0; !c.ended {
			c.after = c.page[len(c.page)-1].Key
		}
	}
	if c.ended {
		return nil, nil
	}
	return &c.page[0], nil
}

func (c *cursor) next() { c.page = c.page[1:] }

// Diff returns how the state of so many lanes differs from another, and the first changes of it.
func Diff(ctx context.Context, lanes int, before, after Pages, show int) (plugins.StateDiff, error) {
	d := differ{StateDiff: plugins.StateDiff{First: []plugins.StateChange{}}, room: newRoom(show)}
	for lane := range lanes {
		if err := d.compare(ctx, cursor{pages: before, lane: lane}, cursor{pages: after, lane: lane}); err != nil {
			return d.StateDiff, err
		}
	}
	return d.StateDiff, nil
}

type differ struct {
	plugins.StateDiff
	room room
}

// compare adds how a lane differs.
func (d *differ) compare(ctx context.Context, before, after cursor) error {
	for {
		b, err := before.peek(ctx)
		if err != nil {
			return err
		}
		a, err := after.peek(ctx)
		if err != nil {
			return err
		}
		switch {
		case b == nil && a == nil:
			return nil
		case b == nil || a != nil && a.Key < b.Key:
			d.Added++
			d.list(after.lane, a.Key, nil, a)
			after.next()
		case a == nil || b.Key < a.Key:
			d.Removed++
			d.list(before.lane, b.Key, b, nil)
			before.next()
		default:
			if string(a.Value) != string(b.Value) {
				d.Changed++
				d.list(after.lane, a.Key, b, a)
			}
			before.next()
			after.next()
		}
	}
}

func (d *differ) list(lane int, key string, before, after *effects.Entry) {
	size := len(key)
	for _, e := range []*effects.Entry{before, after} {
		if e != nil {
			size += len(e.Value)
		}
	}
	if !d.room.take(size) {
		return
	}
	content := func(e *effects.Entry) *plugins.Content {
		if e == nil {
			return nil
		}
		return new(plugins.ContentOf(e.Value))
	}
	d.First = append(d.First, plugins.StateChange{Lane: lane, Key: key, Before: content(before), After: content(after)})
}
