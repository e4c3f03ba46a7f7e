package host

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// write is one staged change of the lane's state.
type write struct {
	event   int
	key     string
	value   []byte
	deleted bool
}

// size is how much a key with the value counts against Limits.StateBytes.
func (w *write) size() int64 {
	if w.deleted {
		return 0
	}
	return int64(len(w.key) + len(w.value))
}

// cache has state of the lane, which is its only writer: what the Commits under way change,
// and of what is stored that which was used last, in two halves.
type cache struct {
	ahead      map[string]flying
	young, old map[string]cached
	bytes      int // of young
}

// flying is a value that the last Commit under way that changes it stores.
type flying struct {
	cached
	by *flight
}

// cached is a value, or that there is none.
type cached struct {
	value []byte
	ok    bool
}

// maxCacheBytes bounds each half of a cache.
const maxCacheBytes = 1 << 20

func (c *cache) get(key []byte) (v cached, known bool) {
	if f, under := c.ahead[string(key)]; under {
		return f.cached, true
	}
	if v, known = c.young[string(key)]; known {
		return v, true
	}
	if v, known = c.old[string(key)]; known {
		c.put(string(key), v)
	}
	return v, known
}

func (c *cache) put(key string, v cached) {
	const perEntry = 64
	if c.young == nil || c.bytes > maxCacheBytes {
		c.old, c.young, c.bytes = c.young, map[string]cached{}, 0
	}
	c.young[key] = v
	c.bytes += len(key) + len(v.value) + perEntry
}

// launch has what a Commit changes be read as if it were made.
func (c *cache) launch(f *flight) {
	if c.ahead == nil {
		c.ahead = map[string]flying{}
	}
	for key, i := range f.staged.latest {
		w := &f.staged.writes[i]
		c.ahead[key] = flying{cached{w.value, !w.deleted}, f}
	}
}

// land takes notice of a Commit that was made. What another has changed since stays ahead.
func (c *cache) land(f *flight) {
	for key, i := range f.staged.latest {
		if by := c.ahead[key].by; by == nil || by == f {
			delete(c.ahead, key)
			w := &f.staged.writes[i]
			c.put(key, cached{slices.Clone(w.value), !w.deleted})
		}
	}
}

// Put is plugins.Effects'.
func (x *effects) Put(event int, key, value []byte) abi.Errno {
	if len(value) > abi.MaxValueBytes {
		return abi.TooLarge
	}
	return x.write(event, key, value, false)
}

// Delete is plugins.Effects'.
func (x *effects) Delete(event int, key []byte) abi.Errno { return x.write(event, key, nil, true) }

func (x *effects) write(event int, key, value []byte, deleted bool) abi.Errno {
	if e := x.checkKey(key); e != abi.OK {
		return e
	}
	if event < 0 || event >= len(x.sources) || x.isBehind(event) {
		return abi.Invalid
	}
	w := write{event: event, value: value, deleted: deleted}
	growth := -x.sizeOf(key, false)
	if !deleted {
		growth += int64(len(key) + len(value))
	}
	if limit := x.lane.binding.Limits.StateBytes; growth > 0 && x.lane.stateBytes.Load()+x.growth+growth > limit {
		if growth = int64(len(key)+len(value)) - x.sizeOf(key, true); x.storage != nil {
			return abi.IO
		}
		if growth > 0 && x.lane.stateBytes.Load()+x.growth+growth > limit {
			return x.refuse(abi.Quota, "the state of the binding has at most %d bytes (limits.stateBytes)", limit)
		}
	}
	if len(x.writes) >= abi.MaxStateWrites {
		return x.refuse(abi.Quota, "a batch makes at most %d changes of state", abi.MaxStateWrites)
	}
	if e := x.spend(len(key) + len(value)); e != abi.OK {
		return e
	}
	x.growth += growth
	w.key, w.value = string(key), x.keep(value)
	x.latest[w.key] = len(x.writes)
	x.writes = append(x.writes, w)
	return abi.OK
}

func (x *effects) checkKey(key []byte) abi.Errno {
	if e := x.mayUseState(); e != abi.OK {
		return e
	}
	return abi.CheckKey(key)
}

func (x *effects) mayUseState() abi.Errno { return x.grants(plugins.CanUseState, "to use state", "") }

// sizeOf is how much a key counts at the moment. What is stored is not looked up unless look
// is set, and counts nothing.
func (x *effects) sizeOf(key []byte, look bool) int64 {
	if i, ok := x.latest[string(key)]; ok {
		return x.writes[i].size()
	}
	v, known := x.lane.cache.get(key)
	if !known && look {
		v, _ = x.lookUp(key)
	}
	if !v.ok {
		return 0
	}
	return int64(len(key) + len(v.value))
}

// lookUp reads a key of the stored state.
func (x *effects) lookUp(key []byte) (cached, abi.Errno) {
	l := x.lane
	r, err := l.host.record(x.ctx, stateTable(l.binding.Name, l.binding.Generation), statePrefix(l.number)+string(key))
	if err != nil {
		x.storage = err
		return cached{}, abi.IO
	}
	var v cached
	if r != nil {
		v = cached{r.Value, true}
	}
	l.cache.put(string(key), v)
	return v, abi.OK
}

// Get is plugins.Reads'.
func (x *effects) Get(key []byte) ([]byte, abi.Errno) {
	if e := x.checkKey(key); e != abi.OK {
		return nil, e
	}
	if i, ok := x.latest[string(key)]; ok {
		if x.writes[i].deleted {
			return nil, abi.NotFound
		}
		return x.writes[i].value, abi.OK
	}
	v, known := x.lane.cache.get(key)
	if !known {
		var e abi.Errno
		if v, e = x.lookUp(key); e != abi.OK {
			return nil, e
		}
	}
	if !v.ok {
		return nil, abi.NotFound
	}
	return v.value, abi.OK
}

// Scan is plugins.Reads'. It merges what is stored with what is staged and under way.
func (x *effects) Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno) {
	if e := x.mayUseState(); e != abi.OK {
		return nil, e
	}
	switch {
	case len(prefix) > abi.MaxStateKeyBytes || len(after) > abi.MaxStateKeyBytes:
		return nil, abi.TooLarge
	case !utf8.Valid(prefix) || !utf8.Valid(after):
		return nil, abi.Invalid
	}
	s := scan{effects: x, prefix: string(prefix), after: string(after), more: true}
	for key := range x.latest {
		s.stage(key)
	}
	for key := range x.lane.cache.ahead {
		if _, again := x.latest[key]; !again {
			s.stage(key)
		}
	}
	slices.Sort(s.keys)
	x.entry = x.entry[:0]
	for n := 0; n < limit; n++ {
		key, value, ok := s.next()
		if x.storage != nil {
			return nil, abi.IO
		}
		if !ok || len(x.entry)+8+len(key)+len(value) > size {
			break
		}
		x.entry = binary.LittleEndian.AppendUint32(x.entry, uint32(len(key)))
		x.entry = binary.LittleEndian.AppendUint32(x.entry, uint32(len(value)))
		x.entry = append(append(x.entry, key...), value...)
	}
	return x.entry, abi.OK
}

// scan merges the stored and the staged state.
type scan struct {
	*effects
	prefix, after string
	keys          []string // staged, and to come, in order
	stored        []core.Record
	more          bool // there may be more stored
}

// stage adds a key that is staged, or that a Commit under way changes.
func (s *scan) stage(key string) {
	if strings.HasPrefix(key, s.prefix) && key > s.after {
		s.keys = append(s.keys, key)
	}
}

// ahead is what a key of keys will be.
func (s *scan) ahead(key string) cached {
	if i, ok := s.latest[key]; ok {
		return cached{s.writes[i].value, !s.writes[i].deleted}
	}
	return s.lane.cache.ahead[key].cached
}

// scanPage is how many keys are read at a time.
const scanPage = 256

func (s *scan) next() (key string, value []byte, ok bool) {
	for {
		if len(s.stored) == 0 && s.more && !s.read() {
			return "", nil, false
		}
		switch {
		case len(s.keys) > 0 && (len(s.stored) == 0 || s.keys[0] <= s.storedKey()):
			key = s.keys[0]
			if len(s.stored) > 0 && s.storedKey() == key {
				s.stored = s.stored[1:]
			}
			s.keys = s.keys[1:]
			if v := s.ahead(key); v.ok {
				return key, v.value, true
			}
		case len(s.stored) > 0:
			key, value = s.storedKey(), s.stored[0].Value
			s.stored = s.stored[1:]
			return key, value, true
		default:
			return "", nil, false
		}
	}
}

func (s *scan) storedKey() string { return s.stored[0].Key[len(statePrefix(0)):] }

// read reads the next page of what is stored.
func (s *scan) read() bool {
	l := s.lane
	prefix := statePrefix(l.number)
	page, err := l.host.config.Store.Records(s.ctx, core.RecordsRequest{
		Table: stateTable(l.binding.Name, l.binding.Generation), Prefix: prefix + s.prefix, After: prefix + s.after, Limit: scanPage,
	})
	if err != nil {
		s.storage = err
		return false
	}
	s.stored, s.more = page, len(page) == scanPage
	if s.more {
		s.after = page[len(page)-1].Key[len(prefix):]
	}
	return true
}

// grown is how much the state grows by what is staged. It reads what is overwritten, as far
// as it is not known: the lane's record says how large its state is.
func (x *effects) grown(ctx context.Context) (n int64, err error) {
	l := x.lane
	prefix := statePrefix(l.number)
	var keys []string
	for key, i := range x.latest {
		n += x.writes[i].size()
		v, known := l.cache.get([]byte(key))
		if v.ok {
			n -= int64(len(key) + len(v.value))
		}
		if !known {
			keys = append(keys, prefix+key)
		}
	}
	if len(keys) == 0 {
		return n, nil
	}
	found, err := l.host.config.Store.Records(ctx, core.RecordsRequest{Table: stateTable(l.binding.Name, l.binding.Generation), Keys: keys, Limit: len(keys)})
	for i := range found {
		n -= int64(len(found[i].Key) - len(prefix) + len(found[i].Value))
	}
	return n, err
}

// records appends the operations on state: the last write of each key.
func (x *effects) records(ops []core.RecordOp) []core.RecordOp {
	l := x.lane
	if len(x.writes) == 0 {
		return ops
	}
	table, prefix := stateTable(l.binding.Name, l.binding.Generation), statePrefix(l.number)
	for i := range x.writes {
		w := &x.writes[i]
		if x.latest[w.key] != i {
			continue
		}
		op := core.RecordOp{Table: table, Key: prefix + w.key, Expect: core.AnyVersion, Value: w.value}
		if w.deleted {
			op.Action = core.DeleteRecord
		}
		ops = append(ops, op)
	}
	return ops
}
