package memory

import (
	"context"
	"crypto/rand"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
)

var (
	_ core.Engine    = (*Engine)(nil)
	_ core.Scavenger = (*Engine)(nil)
)

// Engine keeps a log of its own in memory.
type Engine struct {
	scavenging chan struct{} // has room for one: a scavenge runs

	// mu protects the fields below.
	mu     sync.RWMutex
	closed bool
	id     string // the log's identity
	epoch  uint64 // 0: the log has no epochs
	// unfenced lets Commits of other epochs through (Log.Without).
	unfenced bool
	// events are the encoded events, and links without what they name; nil where one was
	// removed. Invariant: events[p-1] has position p.
	events [][]byte
	// streams has the positions of every stream's events and links; 0 for one that was removed
	// from a stream that goes on. Invariant: streams[s][v-1] is the position of version v.
	streams map[string][]uint64
	// ids has the place of every event, links that of every link. Invariant:
	// len(ids) + len(links) is the number of events that are not nil.
	ids      map[core.ID]place
	links    map[linkKey]place
	states   map[string]core.Lifecycle // of streams that a StreamOp was about
	records  map[recordKey]core.Record
	blobs    map[[32]byte]blob
	puts     uint64 // of blobs
	policies uint64 // Commits that put a policy of retention
	recorded int64  // of the last event, Unix µs
	bytes    int64  // of events
}

// linkKey is a stream and an event that it has a link to.
type linkKey struct {
	stream string
	id     core.ID
}

// place is where an event or a link is.
type place struct {
	stream            string
	version, position uint64
}

type recordKey struct{ table, key string }

// New makes an Engine with an empty log.
func New() *Engine {
	return &Engine{
		scavenging: make(chan struct{}, 1),
		id:         newID(),
		streams:    make(map[string][]uint64),
		ids:        make(map[core.ID]place),
		links:      make(map[linkKey]place),
		states:     make(map[string]core.Lifecycle),
		records:    make(map[recordKey]core.Record),
		blobs:      make(map[[32]byte]blob),
	}
}

func newID() string { return strings.ToLower(rand.Text()[:12]) }

// Read returns a page of a stream or of $all.
func (e *Engine) Read(_ context.Context, r core.ReadRequest) (core.Page, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return core.Page{}, errClosed()
	}
	// number is what the stream counts by: versions, or positions of $all.
	last := uint64(len(e.events))
	event := func(number uint64) (encoded []byte, position uint64) {
		if encoded = e.events[number-1]; encoded != nil && !core.InAll(encoded, r.System) {
			encoded = nil
		}
		return encoded, number
	}
	if r.Stream != core.All {
		state := e.states[r.Stream]
		if err := state.Refusal(r.Stream); err != nil {
			return core.Page{}, err
		}
		positions := e.streams[r.Stream]
		if len(positions) == 0 {
			return core.Page{Incarnation: state.Incarnation()}, core.NewStreamNotFound(r.Stream)
		}
		last = uint64(len(positions))
		event = func(number uint64) ([]byte, uint64) {
			p := positions[number-1]
			if p == 0 {
				return nil, 0
			}
			return e.resolved(p), p
		}
	}
	page := e.page(&r, last, event)
	if r.Stream != core.All {
		page.Incarnation = e.states[r.Stream].Incarnation()
	}
	return page, nil
}

// ReadLog returns a page of everything that was written.
func (e *Engine) ReadLog(_ context.Context, from uint64, limit core.Limit) (core.Page, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return core.Page{}, errClosed()
	}
	r := core.ReadRequest{Stream: core.All, From: from, Limit: limit}
	page := e.page(&r, uint64(len(e.events)), func(number uint64) ([]byte, uint64) { return e.events[number-1], number })
	page.Hidden = true
	return page, nil
}

// page gathers events, by their numbers, of which last is the greatest. Where there
// is none, it is passed over.
func (e *Engine) page(r *core.ReadRequest, last uint64, event func(number uint64) (encoded []byte, position uint64)) core.Page {
	page := core.Page{Version: last, Head: uint64(len(e.events))}
	add := func(number uint64) bool {
		encoded, position := event(number)
		full := page.Count >= r.Limit.Events || encoded != nil && page.Count > 0 && len(page.Block)+len(encoded) > r.Limit.Bytes
		if !full && encoded != nil {
			page.Add(encoded, position)
		}
		return !full
	}
	if r.Backward {
		n := r.From
		if n == 0 || n > last {
			n = last
		}
		for n > 0 && add(n) {
			n--
		}
		page.Next, page.End = n, n == 0
		return page
	}
	n := max(r.From, 1)
	for n <= last && add(n) {
		n++
	}
	page.Next, page.End = n, n > last
	return page
}

// Event finds an event by its id.
func (e *Engine) Event(_ context.Context, id core.ID) (core.Event, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return core.Event{}, errClosed()
	}
	p, ok := e.ids[id]
	if !ok {
		return core.Event{}, core.NewEventNotFound(id)
	}
	return e.event(p.position), nil
}

// event decodes what is at a position.
func (e *Engine) event(position uint64) (event core.Event) {
	if _, err := core.DecodeEvent(e.events[position-1], &event); err != nil {
		panic("memory: what was encoded cannot be decoded")
	}
	return event
}

// resolved is what is at a position as readers of its stream get it.
func (e *Engine) resolved(position uint64) []byte {
	if !core.IsLink(e.events[position-1]) {
		return e.events[position-1]
	}
	link := e.event(position)
	event := e.event(link.Link.Position)
	return link.Resolve(nil, &event)
}

// Records lists the records of a table by key.
func (e *Engine) Records(_ context.Context, r core.RecordsRequest) ([]core.Record, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, errClosed()
	}
	var records []core.Record
	add := func(k recordKey) {
		if record, ok := e.records[k]; ok && k.table == r.Table && asked(&r, k.key) {
			records = append(records, record)
		}
	}
	if r.Keys != nil {
		for _, key := range slices.Compact(slices.Sorted(slices.Values(r.Keys))) {
			add(recordKey{r.Table, key})
		}
	} else {
		for k := range e.records {
			add(k)
		}
	}
	slices.SortFunc(records, func(a, b core.Record) int { return strings.Compare(a.Key, b.Key) })
	return records[:min(len(records), r.Limit)], nil
}

// asked reports whether a key is within the bounds of r.
func asked(r *core.RecordsRequest, key string) bool {
	if r.Ranges == nil {
		return key > r.After && strings.HasPrefix(key, r.Prefix)
	}
	i := sort.Search(len(r.Ranges), func(i int) bool { return r.Ranges[i].Before > key })
	return key > r.After && i < len(r.Ranges) && r.Ranges[i].After < key
}

// State returns what the log is.
func (e *Engine) State() core.State {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return core.State{Log: e.id, Epoch: e.epoch, Head: uint64(len(e.events)), Bytes: e.bytes}
}

// Close ends the Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

func (e *Engine) version(stream string) uint64 { return uint64(len(e.streams[stream])) }

func errClosed() *core.Error { return core.Errorf(core.CodeStoreClosed, "the store is closed") }
