// Package testhost is a host of plugins in memory, for the tests of handlers, in a sandbox or
// outside. It keeps the limits of the ABI, and grants everything.
//
// A Host belongs to one goroutine. Begin a batch with Reset, run a handler, and Commit what it
// did, up to an event.
package testhost

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gyre-events/gyre/plugins/abi"
)

// Host is the other side of a handler.
type Host struct {
	State   map[string]string // committed
	Config  string            // a JSON object, or empty
	Secrets map[string]string
	Streams map[string][]abi.Event // that a handler can read; versions from 1 on
	Metrics map[string]float64     // sums of counters, last values of others
	// HTTP answers requests to other servers. They are unsupported if it is nil.
	HTTP func(request []byte) ([]byte, abi.Errno)

	Batch
}

// Batch is what a handler did with a batch.
type Batch struct {
	Results  map[int]Result // by the index of the event
	Appended []Appended
	Writes   []Write
	Logs     []Line

	events  []abi.Event
	current int
	query   bool // there are no events
	bytes   int
	random  *rand.ChaCha8
}

// Result is what a handler decided about an event.
type Result struct {
	Action  abi.Action
	DelayMs uint32
	Message string
}

// Appended is an event that a handler appends.
type Appended struct {
	Event    int // that it comes of
	Stream   string
	Expected int64 // of the first event of its append; the others have abi.StreamExists
	Type     string
	Binary   bool
	Data     string
	Metadata string
}

// Write is a change of the state.
type Write struct {
	Event   int
	Key     string
	Value   string
	Deleted bool
}

// Line is a log line.
type Line struct {
	Level abi.Level
	Text  string
}

// Reset begins a batch; one without events is a query, which may not change anything.
func (h *Host) Reset(events []abi.Event) {
	h.Batch = Batch{events: events, current: -1, query: len(events) == 0, Results: map[int]Result{}}
}

// Commit makes the effects of the events before one the state, and forgets those of the others.
func (h *Host) Commit(end int) {
	if h.State == nil {
		h.State = map[string]string{}
	}
	h.Writes = slices.DeleteFunc(h.Writes, func(w Write) bool { return w.Event >= end })
	h.Appended = slices.DeleteFunc(h.Appended, func(a Appended) bool { return a.Event >= end })
	for _, w := range h.Writes {
		if w.Deleted {
			delete(h.State, w.Key)
		} else {
			h.State[w.Key] = w.Value
		}
	}
}

// Begin makes an event the current one.
func (h *Host) Begin(index int) {
	h.current = index
	var seed [32]byte
	copy(seed[:], h.events[index].ID[:])
	h.random = rand.NewChaCha8(seed)
}

// Current returns the index of the current event, or -1.
func (h *Host) Current() int { return h.current }

// Result notes the result of an event.
func (h *Host) Result(index int, action abi.Action, delayMs uint32, message string) {
	h.Results[index] = Result{action, delayMs, message}
}

// spend takes from what the effects of a batch may have.
func (h *Host) spend(n int) bool {
	if h.bytes+n > abi.MaxEffectBytes {
		return false
	}
	h.bytes += n
	return true
}

// Append stages encoded events.
func (h *Host) Append(stream string, expected int64, events []byte) abi.Errno {
	if expected < abi.StreamExists {
		return abi.Invalid
	}
	var list []Appended
	for rest := events; len(rest) > 0; {
		var e abi.Appended
		var err error
		if rest, err = abi.NextEvent(rest, &e); err != nil || len(e.Type) == 0 {
			return abi.Invalid
		}
		if e.Content == abi.ContentJSON && (!json.Valid(e.Data) || !utf8.Valid(e.Data)) {
			return abi.Invalid
		}
		list = append(list, Appended{h.current, stream, expected, string(e.Type), e.Content != abi.ContentJSON, string(e.Data), string(e.Metadata)})
		expected = abi.StreamExists
	}
	switch {
	case len(list) == 0 || stream == "" || !utf8.ValidString(stream):
		return abi.Invalid
	case len(h.Appended)+len(list) > abi.MaxAppended || !h.spend(len(stream)+len(events)):
		return abi.Quota
	}
	h.Appended = append(h.Appended, list...)
	return abi.OK
}

// Put stages a change of the state.
func (h *Host) Put(key string, value []byte) abi.Errno {
	return h.write(Write{Event: h.current, Key: key, Value: string(value)})
}

// Delete stages the removal of a key.
func (h *Host) Delete(key string) abi.Errno {
	return h.write(Write{Event: h.current, Key: key, Deleted: true})
}

func (h *Host) write(w Write) abi.Errno {
	if e := abi.CheckKey(w.Key); e != abi.OK {
		return e
	}
	switch {
	case h.query:
		return abi.Denied
	case len(w.Value) > abi.MaxValueBytes:
		return abi.TooLarge
	case len(h.Writes) >= abi.MaxStateWrites || !h.spend(len(w.Key)+len(w.Value)):
		return abi.Quota
	}
	h.Writes = append(h.Writes, w)
	return abi.OK
}

// staged is the state with what the batch has changed.
func (h *Host) staged() map[string]string {
	all := maps.Clone(h.State)
	if all == nil {
		all = map[string]string{}
	}
	for _, w := range h.Writes {
		if w.Deleted {
			delete(all, w.Key)
		} else {
			all[w.Key] = w.Value
		}
	}
	return all
}

// Get returns the value of a key.
func (h *Host) Get(key string) ([]byte, abi.Errno) {
	if e := abi.CheckKey(key); e != abi.OK {
		return nil, e
	}
	for _, w := range slices.Backward(h.Writes) {
		if w.Key != key {
			continue
		}
		if w.Deleted {
			return nil, abi.NotFound
		}
		return []byte(w.Value), abi.OK
	}
	value, ok := h.State[key]
	if !ok {
		return nil, abi.NotFound
	}
	return []byte(value), abi.OK
}

// Scan returns entries as the import state_scan does.
func (h *Host) Scan(prefix, after string, limit, size int) (page []byte, e abi.Errno) {
	all := h.staged()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(key, prefix) || key <= after {
			continue
		}
		value := all[key]
		if limit--; limit < 0 || len(page)+8+len(key)+len(value) > size {
			break
		}
		page = binary.LittleEndian.AppendUint32(page, uint32(len(key)))
		page = binary.LittleEndian.AppendUint32(page, uint32(len(value)))
		page = append(append(page, key...), value...)
	}
	return page, abi.OK
}

// ReadStream returns a batch of events from a version on.
func (h *Host) ReadStream(stream string, from int64, limit int) ([]byte, abi.Errno) {
	events, ok := h.Streams[stream]
	if !ok {
		return nil, abi.NotFound
	}
	var w abi.BatchWriter
	w.Reset(h.Now(), 1, 0)
	for i := range events {
		if int64(events[i].Version) < from {
			continue
		}
		if limit--; limit < 0 || w.Add(&events[i]) != nil {
			break
		}
	}
	return w.Bytes(), abi.OK
}

// ConfigOf returns a member of the configuration, or all of it for an empty name.
func (h *Host) ConfigOf(name string) ([]byte, abi.Errno) {
	var members map[string]json.RawMessage
	if h.Config != "" && json.Unmarshal([]byte(h.Config), &members) != nil {
		return nil, abi.Invalid
	}
	if name == "" {
		return []byte(cmp.Or(h.Config, "{}")), abi.OK
	}
	value, ok := members[name]
	if !ok {
		return nil, abi.NotFound
	}
	return value, abi.OK
}

// Secret returns a secret.
func (h *Host) Secret(name string) ([]byte, abi.Errno) {
	value, ok := h.Secrets[name]
	if !ok {
		return nil, abi.NotFound
	}
	return []byte(value), abi.OK
}

// Call answers a request to another server.
func (h *Host) Call(request []byte) ([]byte, abi.Errno) {
	if h.HTTP == nil {
		return nil, abi.Unsupported
	}
	return h.HTTP(request)
}

// Log notes a line.
func (h *Host) Log(level abi.Level, line string) { h.Logs = append(h.Logs, Line{level, line}) }

// Metric notes a value: sums of counters, and the last value of others.
func (h *Host) Metric(kind abi.Kind, name string, value float64) abi.Errno {
	if h.Metrics == nil {
		h.Metrics = map[string]float64{}
	}
	_, known := h.Metrics[name]
	switch {
	case name == "":
		return abi.Invalid
	case !known && len(h.Metrics) >= abi.MaxSeries:
		return abi.Quota
	case kind == abi.Counter:
		value += h.Metrics[name]
	}
	h.Metrics[name] = value
	return abi.OK
}

// Now returns the logical time in µs.
func (h *Host) Now() int64 {
	if h.current < 0 {
		return 0
	}
	return h.events[h.current].TimeMicros
}

// Random fills p. It depends on the event only.
func (h *Host) Random(p []byte) { _, _ = h.random.Read(p) } // it never fails
