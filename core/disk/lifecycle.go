package disk

import (
	"encoding/binary"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gyre-events/gyre/core"
)

// lifecycleTable has a record for each stream that a StreamOp was about, under its name:
//
//	u8 state | uvarint removals | uvarint position up to which its events are removed
const lifecycleTable = "$streams"

// maxLifecycleBytes bounds what encodeLifecycle returns.
const maxLifecycleBytes = 1 + 2*binary.MaxVarintLen64

func encodeLifecycle(l core.Lifecycle) []byte {
	b := binary.AppendUvarint([]byte{byte(l.State)}, uint64(l.Removals))
	return binary.AppendUvarint(b, l.Removed)
}

func decodeLifecycle(b []byte) (l core.Lifecycle, ok bool) {
	if len(b) == 0 || core.StreamState(b[0]) > core.StreamTombstoned {
		return l, false
	}
	l.State = core.StreamState(b[0])
	var removals uint64
	if b, ok = takeUvarint(b[1:], &removals); !ok || removals > 1<<32-1 {
		return l, false
	}
	l.Removals = uint32(removals)
	b, ok = takeUvarint(b, &l.Removed)
	return l, ok && len(b) == 0
}

// indexName is the name under which the index has an incarnation of a stream: the stream's,
// then for all but the first incarnation a zero byte, which no name has, and its number.
func indexName(stream string, incarnation uint32) string {
	if incarnation <= 1 {
		return stream
	}
	return stream + "\x00" + strconv.FormatUint(uint64(incarnation), 10)
}

// parseIndexName is the inverse of indexName.
func parseIndexName(name string) (stream string, incarnation uint32) {
	stream, number, later := strings.Cut(name, "\x00")
	if !later {
		return stream, 1
	}
	n, _ := strconv.ParseUint(number, 10, 32) // it is one of ours
	return stream, uint32(n)
}

// behindIncarnations is behind all names that the index has of a stream.
func behindIncarnations(stream string) string { return stream + "\x00\xff" }

// changedStreams has the hashes of the names in lifecycleTable, so that all other streams
// cost no look-up there. It may have more of them, of Commits that were not written.
type changedStreams struct {
	some     atomic.Bool // it is not empty
	removals atomic.Bool // events of one of them are removed
	mu       sync.RWMutex
	hashes   map[uint64]struct{} // mu protects it
}

// add adds the hash of a stream, and whether events of the stream are removed. It is called
// before that can be read.
func (s *changedStreams) add(hash uint64, removes bool) {
	if removes {
		s.removals.Store(true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hashes == nil {
		s.hashes = make(map[uint64]struct{})
	}
	s.hashes[hash] = struct{}{}
	s.some.Store(true)
}

func (s *changedStreams) has(key hashKey, stream string) bool {
	if !s.some.Load() {
		return false
	}
	hash := key.name(stream)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.hashes[hash]
	return ok
}

// loadChanged reads lifecycleTable.
func (e *Engine) loadChanged() error {
	r := core.RecordsRequest{Table: lifecycleTable, Limit: core.MaxReadEvents}
	for {
		records, err := e.records.list(r)
		if err != nil {
			return err
		}
		for i := range records {
			l, ok := decodeLifecycle(records[i].Value)
			e.changed.add(e.key.name(records[i].Key), !ok || l.Removals > 0)
		}
		if len(records) < r.Limit {
			return nil
		}
		r.After = records[len(records)-1].Key
	}
}

// lifecycles finds what StreamOps have made of a stream.
type lifecycles func(stream string) (core.Lifecycle, error)

// lifecycle is as of what is durable.
func (e *Engine) lifecycle(stream string) (core.Lifecycle, error) {
	if !e.changed.has(e.key, stream) {
		return core.Lifecycle{}, nil
	}
	b, err := e.records.durableValue(recordID{lifecycleTable, stream})
	return lifecycleOf(stream, b, err)
}

// lifecycleForWriter is after everything that was decided so far.
func (e *Engine) lifecycleForWriter(stream string) (core.Lifecycle, error) {
	if !e.changed.has(e.key, stream) {
		return core.Lifecycle{}, nil
	}
	b, err := e.records.value(recordID{lifecycleTable, stream})
	return lifecycleOf(stream, b, err)
}

// lifecycleOf decodes a stream's record, if there is one.
func lifecycleOf(stream string, b []byte, err error) (l core.Lifecycle, _ error) {
	if err != nil || b == nil {
		return l, err
	}
	l, ok := decodeLifecycle(b)
	if !ok {
		return l, core.Errorf(core.CodeStoreCorrupt, "the record of stream %q is malformed", core.Clip(stream))
	}
	return l, nil
}

// remember is of with its answers kept, for the many events of a few streams.
func (e *Engine) remember(of lifecycles) lifecycles {
	known := make(map[string]core.Lifecycle)
	return func(stream string) (core.Lifecycle, error) {
		if l, ok := known[stream]; ok {
			return l, nil
		}
		l, err := of(stream)
		if err == nil && l != (core.Lifecycle{}) {
			known[strings.Clone(stream)] = l
		}
		return l, err
	}
}

// isRemoved reports whether an event or a link is removed.
func (of lifecycles) isRemoved(ev *core.Event) (bool, error) {
	l, err := of(ev.Stream)
	if err != nil || ev.Position <= l.Removed || isEvent(ev) {
		return ev.Position <= l.Removed, err
	}
	l, err = of(ev.Link.Stream)
	return ev.Link.Position <= l.Removed, err
}

// checkOps finds the lifecycles that the StreamOps of c lead to, and checks what they expect.
func (e *Engine) checkOps(c *core.Commit) error {
	d := &e.writer.decision
	d.lifecycles = d.lifecycles[:0]
	for i := range c.Streams {
		op := &c.Streams[i]
		l, err := e.lifecycleForWriter(op.Stream)
		if err != nil {
			return err
		}
		_, version, err := e.versionForWriter(indexName(op.Stream, l.Incarnation()))
		if err != nil {
			return err
		}
		after, refusal := l.After(op, version, e.writer.last.head)
		if refusal != nil {
			return refused(refusal, len(c.Appends)+len(c.Checks)+i)
		}
		d.lifecycles = append(d.lifecycles, after)
	}
	return nil
}

// recordOps are the operations on records of c, with those that its StreamOps come to.
func (d *decision) recordOps(c *core.Commit) []core.RecordOp {
	if len(c.Streams) == 0 {
		return c.Records
	}
	ops := append(make([]core.RecordOp, 0, len(c.Records)+len(c.Streams)), c.Records...)
	for i := range c.Streams {
		ops = append(ops, core.RecordOp{
			Table: lifecycleTable, Key: c.Streams[i].Stream, Expect: core.AnyVersion, Value: encodeLifecycle(d.lifecycles[i]),
		})
		d.revisions = append(d.revisions, 0)
	}
	return ops
}

func refused(err *core.Error, element int) error {
	err.Element = &element
	return err
}
