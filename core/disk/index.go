package disk

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

// index finds events by stream and version, by id and by position. It is
// derived from the log: tables in memory for the newest segments, runs on disk
// for the others, a view that says which. Two goroutines keep it: the flusher
// turns the tables of sealed segments into runs, the merger makes many small
// runs into few large ones. A scavenge makes the runs of rewritten segments anew.
type index struct {
	fs     FS
	dir    string
	key    hashKey
	logger *slog.Logger
	cache  versionCache
	kinds  *kindStore

	view atomic.Pointer[view]

	// rebuild makes the runs of some segments anew from the log.
	rebuild func(first, last uint32) ([]*run, error)
	// momentAt reads the place and the time of the event at o from the log.
	momentAt func(o offset) (moment, error)
	// reading is held for reading by look-ups. Who has taken a run out of the
	// view takes it for writing, once, and may then close the run.
	reading sync.RWMutex
	// working is held while runs are replaced, by the merger, by a scavenge, or where damage was found.
	working sync.Mutex

	mu      sync.Mutex // one changes the view at a time
	changed sync.Cond  // the view did, or closing

	// mu protects the fields below.
	closing     bool
	flushFailed error         // why the oldest table could not be made a run the last time
	mergeFailed error         // why runs could not be merged the last time
	pause       time.Duration // before the next try then
	done        sync.WaitGroup
}

// maxSealed bounds the tables that wait for the flusher, and so the memory
// that a burst of writes takes; maxUnmerged does it for the runs that wait for
// the merger, each of which a look-up may have to ask.
const (
	maxSealed   = 4
	maxUnmerged = 64
)

func newIndex(fs FS, dir string, key hashKey, logger *slog.Logger) *index {
	ix := &index{fs: fs, dir: dir, key: key, logger: logger, kinds: newKindStore(), pause: retryIndex}
	ix.changed.L = &ix.mu
	ix.view.Store(&view{})
	return ix
}

// change replaces the view by a changed copy. It must be called with mu held.
func (ix *index) change(f func(v *view)) {
	v := *ix.view.Load()
	f(&v)
	ix.view.Store(&v)
	ix.changed.Broadcast()
}

// seal says that the segment that is written ends at end, and that table is
// the next one's.
func (ix *index) seal(end offset, table *memtable, salt uint32) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.change(func(v *view) {
		v.segments = slices.Clone(v.segments)
		last := &v.segments[len(v.segments)-1]
		last.end = end.byte()
		v.segments = append(v.segments, segment{
			number: table.segment, salt: salt, first: table.first,
			end: math.MaxInt64, before: last.before + last.end,
		})
		v.tables = append(slices.Clone(v.tables), table)
	})
}

// flusherBehind and mergerBehind say that more has been written than the one or the
// other has got done with.
func (v *view) flusherBehind() bool { return len(v.tables) > maxSealed+1 }
func (v *view) mergerBehind() bool  { return len(v.runs) > maxUnmerged }
func (v *view) behind() bool        { return v.flusherBehind() || v.mergerBehind() }

// room waits until the goroutines behind the writer have caught up. If one cannot,
// the answer is why: nobody knows for how long.
func (ix *index) room(ctx context.Context, closing *atomic.Bool) error {
	if !ix.view.Load().behind() {
		return nil
	}
	defer wakeAtEnd(ctx, &ix.changed)()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for ix.view.Load().behind() {
		switch {
		case ctx.Err() != nil:
			return core.AsError(ctx.Err())
		case closing.Load():
			return core.Errorf(core.CodeStoreClosed, "the store is closed")
		}
		if err := ix.refusal(); err != nil {
			return cannotWrite(err)
		}
		ix.changed.Wait()
	}
	return nil
}

// wakeAtEnd wakes who waits on c when ctx ends, until stop is called.
func wakeAtEnd(ctx context.Context, c *sync.Cond) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		c.L.Lock()
		defer c.L.Unlock()
		c.Broadcast()
	})
}

// flushed waits until every sealed segment has a run.
func (ix *index) flushed(ctx context.Context) error {
	defer wakeAtEnd(ctx, &ix.changed)()
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for len(ix.view.Load().tables) > 1 && !ix.closing {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ix.flushFailed != nil {
			return cannotWrite(ix.flushFailed)
		}
		ix.changed.Wait()
	}
	return ctx.Err()
}

// refusal is why the flusher or the merger cannot catch up, or nil. mu is held.
func (ix *index) refusal() error {
	v := ix.view.Load()
	switch {
	case v.flusherBehind() && ix.flushFailed != nil:
		return ix.flushFailed
	case v.mergerBehind():
		return ix.mergeFailed
	}
	return nil
}

// failure is refusal for callers that do not hold mu.
func (ix *index) failure() error {
	if !ix.view.Load().behind() {
		return nil
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return ix.refusal()
}

// stopWaiting wakes those that wait for room; there will be none.
func (ix *index) stopWaiting() {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.closing = true
	ix.changed.Broadcast()
}

// consult runs a look-up, again if the index moved on under it, and again
// after a run that turned out to be damaged has been made anew.
func (ix *index) consult(look func() error) error {
	for tries := 0; ; tries++ {
		ix.reading.RLock()
		err := look()
		ix.reading.RUnlock()
		var damage *damagedRun
		switch {
		case errors.Is(err, errRetired):
		case errors.As(err, &damage):
			if tries == maxHeals {
				return core.Errorf(core.CodeStoreCorrupt, "%w", err)
			}
			if err := ix.heal(damage); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// maxHeals ends a look-up on a disk that damages whatever is written to it.
const maxHeals = 3

// versionForWriter is the version of a stream after everything that was
// decided so far, and its entry in the segment's table if it has one.
func (e *Engine) versionForWriter(name string) (*memStream, uint64, error) {
	if s := e.writer.table.streams[name]; s != nil {
		return s, s.last, nil
	}
	v := e.index.view.Load()
	for k := len(v.tables) - 2; k >= 0; k-- {
		// Nobody adds to a sealed table any more.
		if s := v.tables[k].streams[name]; s != nil {
			return nil, s.last, nil
		}
	}
	var version uint64
	err := e.index.consult(func() (err error) {
		version, err = e.index.versionOnDisk(e.index.view.Load(), name)
		return err
	})
	return nil, version, err
}

// anyKnown reports whether the log may have one of d's given ids.
func (e *Engine) anyKnown(d *decision) (known bool, err error) {
	err = e.index.consult(func() error {
		known, err = e.index.view.Load().anyKnown(d)
		return err
	})
	return known, err
}

func (v *view) anyKnown(d *decision) (bool, error) {
	for k := len(v.tables) - 1; k >= 0; k-- {
		t := v.tables[k]
		t.mu.RLock() // the flusher may retire it
		known, retired := t.window.meets(d.window) && t.ids.hasAny(d.given), t.retired
		t.mu.RUnlock()
		if retired {
			return false, errRetired
		}
		if known {
			return true, nil
		}
	}
	for k := len(v.runs) - 1; k >= 0; k-- {
		if !v.runs[k].window.meets(d.window) {
			continue
		}
		if known, err := v.runs[k].hasAny(d.given); known || err != nil {
			return known, err
		}
	}
	return false, nil
}

// placesOfID appends where events with an id of this hash are, before end.
func (v *view) placesOfID(offs []offset, hash uint64, end offset) ([]offset, error) {
	for k := len(v.tables) - 1; k >= 0; k-- {
		t := v.tables[k]
		t.mu.RLock()
		found, retired := t.ids.find(nil, hash), t.retired
		t.mu.RUnlock()
		if retired {
			return nil, errRetired
		}
		for _, off := range found {
			if o := at(t.segment, int64(off)); o < end {
				offs = append(offs, o)
			}
		}
	}
	for k := len(v.runs) - 1; k >= 0; k-- {
		var err error
		if offs, err = v.runs[k].findID(offs, hash); err != nil {
			return nil, err
		}
	}
	return offs, nil
}

// sight is how much of the log a look-up sees.
type sight struct {
	end       offset
	unwritten func(offset) ([]byte, bool) // gives bytes that are not in a file yet
	of        lifecycles
}

// allDecided is the sight of the writer: everything that was decided so far.
func (e *Engine) allDecided() sight {
	return sight{math.MaxUint64, e.unwritten, e.lifecycleForWriter}
}

// eventForWriter finds an event by id among everything that was decided so
// far.
func (e *Engine) eventForWriter(id *core.ID, hash uint64) (core.Event, bool, error) {
	return e.find(id, hash, isEvent, e.allDecided())
}

// unwritten gives the bytes of the log that only the writer has.
func (e *Engine) unwritten(o offset) ([]byte, bool) {
	w := &e.writer
	if o.segment() != w.header.number {
		return nil, false
	}
	return w.builder.holds(o.byte())
}

// allWritten is for those who look before the durable end only.
func allWritten(offset) ([]byte, bool) { return nil, false }

func isEvent(e *core.Event) bool { return e.Link.IsZero() }

// Event is core.Engine's.
func (e *Engine) Event(ctx context.Context, id core.ID) (core.Event, error) {
	if err := e.enter(ctx); err != nil {
		return core.Event{}, err
	}
	defer e.inUse.RUnlock()
	durable := sight{e.appender.durable.Load().end, allWritten, e.lifecycle}
	ev, ok, err := e.find(&id, e.key.id(&id), isEvent, durable)
	if err == nil && !ok {
		err = core.NewEventNotFound(id)
	}
	return ev, err
}

// find finds what is in sight, not removed, has an id, and is what is asked for.
func (e *Engine) find(id *core.ID, hash uint64, is func(*core.Event) bool, in sight) (ev core.Event, ok bool, err error) {
	err = e.index.consult(func() error {
		v := e.index.view.Load()
		offs, err := v.placesOfID(nil, hash, in.end)
		if err != nil {
			return err
		}
		for _, o := range offs {
			encoded, err := e.encodedAt(v, o, in.unwritten)
			if errors.Is(err, errRemoved) {
				continue // the run does not know yet
			}
			if err != nil {
				return err
			}
			if !decode(encoded, &ev) {
				return corrupt(o, "an event is malformed")
			}
			if ev.ID != *id || !is(&ev) {
				continue
			}
			isRemoved, err := in.of.isRemoved(&ev)
			if ok = err == nil && !isRemoved; ok || err != nil {
				return err
			}
		}
		return nil
	})
	return ev, ok, err
}

// encodedAt is a copy of the event at o.
func (e *Engine) encodedAt(v *view, o offset, unwritten func(offset) ([]byte, bool)) ([]byte, error) {
	if b, ok := unwritten(o); ok {
		b = b[eventPrefixBytes:]
		return slices.Clone(b[:eventSize(b)]), nil
	}
	file, err := e.files.acquire(o.segment())
	if err != nil {
		return nil, cannotRead(err)
	}
	defer e.files.release(file)
	w := takeWindow(file, math.MaxInt64, guessBytes)
	defer w.giveBack()
	encoded, err := eventIn(w, o, v.segment(o.segment()).salt)
	return slices.Clone(encoded), err
}
