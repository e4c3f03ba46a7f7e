package effects

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Ground is what a Stage stands on: a lane as it is behind the batches before, and the log. What
// it returns stays as it is.
type Ground interface {
	// Peek returns a value of the state, if it is known without a read.
	Peek(key string) (v Value, known bool)
	// Get reads a value of the state.
	Get(ctx context.Context, key string) (Value, error)
	// Sizes reads how many bytes those of the keys have that there are, with their values.
	Sizes(ctx context.Context, keys []string) (int64, error)
	// Page reads up to PageEntries entries whose keys begin with a prefix and are behind a key,
	// in their order; fewer only if there are no more.
	Page(ctx context.Context, prefix, after string) ([]Entry, error)
	// StateBytes is how large the state of all lanes is.
	StateBytes() int64
	// Read reads a page of a stream, as a core.Log does.
	Read(ctx context.Context, r core.ReadRequest) (core.Page, error)
	// HoldsBack reports whether what the event at a position appends is held back, and no server is
	// called for it.
	HoldsBack(position uint64) bool
}

// Value is a value of the state, or that there is none.
type Value struct {
	Bytes []byte
	OK    bool
}

// Size is how much a key with the value counts against plugins.Limits.StateBytes.
func (v Value) Size(key string) int64 {
	if !v.OK {
		return 0
	}
	return int64(len(key) + len(v.Bytes))
}

// Entry is a key of the state, and its value.
type Entry struct {
	Key   string
	Value []byte
}

// PageEntries is how many entries a page of a Ground has.
const PageEntries = 256

// Stage has what the handler of a lane has staged for a batch, and answers what it asks.
// Everything staged is in the order of the events that it is of, so what some of them have
// staged can be dropped with all behind them.
type Stage struct {
	terms  *Terms
	ground Ground
	out    Output
	ctx    context.Context // of the call
	reach

	sources []core.Event
	causes  []cause // of sources, as far as they were asked for
	results []result
	Staged
	growth int64 // of the state, at most: see Put

	refused  string   // why the last effect was refused, or the last read, if its errno says too little
	broken   *Failure // an effect that cannot be
	brokenBy int      // the event that staged it
	storage  error    // why something could not be read
	steps    recorder

	fields []byte // scratch
	entry  []byte // scratch
	view   abi.BatchWriter
}

// reach is what a handler has of the world outside of the store.
type reach struct {
	outside Outside // nil if there is none
	mask    mask
	calls   calls
	// withheld are the events of the batch for which the handler asked for a call, and noSecret says that
	// it has asked for a secret since it was made; both without an outside.
	withheld []int
	noSecret bool
}

// Output takes what the handler of a lane reports. It is used by one goroutine.
type Output interface {
	plugins.Output
	// At says which event the next lines are about, by its position.
	At(position uint64)
}

// NewStage returns a Stage of a lane. What the host has to say to whoever reads the binding's
// log is logged to out.
func NewStage(terms *Terms, ground Ground, out Output) *Stage {
	return &Stage{terms: terms, ground: ground, out: out}
}

// Staged is what a handler has staged for a batch.
type Staged struct {
	emitted []emitted
	writes  []write
	latest  map[string]int // the last write of a key
	arena   []byte         // what was staged is copied to it
	count   int            // events appended
	bytes   int            // of all effects
}

// Count is how many events are appended.
func (s *Staged) Count() int { return s.count }

// Writes is how many changes of state there are, and of those to one key all.
func (s *Staged) Writes() int { return len(s.writes) }

// Bytes is the size of all effects.
func (s *Staged) Bytes() int { return s.bytes }

// Changes are the last changes of each key, in the order in which they were made.
func (s *Staged) Changes() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for i := range s.writes {
			w := &s.writes[i]
			if s.latest[w.key] == i && !yield(w.key, w.Value) {
				return
			}
		}
	}
}

// Of is what the events of a batch have staged, of which there are n, one after the other.
func (s *Staged) Of(n int) iter.Seq2[int, Deed] {
	return func(yield func(int, Deed) bool) {
		emitted, writes := s.emitted, s.writes
		for event := range n {
			var d Deed
			i := 0
			for i < len(emitted) && emitted[i].event == event {
				i++
			}
			d.emitted, emitted = emitted[:i], emitted[i:]
			i = 0
			for i < len(writes) && writes[i].event == event {
				i++
			}
			d.writes, writes = writes[:i], writes[i:]
			if !yield(event, d) {
				return
			}
		}
	}
}

// Deed is what one event has staged.
type Deed struct {
	emitted []emitted
	writes  []write
}

// Appends are its appends.
func (d Deed) Appends() iter.Seq[*core.Append] {
	return func(yield func(*core.Append) bool) {
		for i := range d.emitted {
			if !yield(&d.emitted[i].append) {
				return
			}
		}
	}
}

// Writes are its changes of state. The last of a key counts.
func (d Deed) Writes() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for i := range d.writes {
			if !yield(d.writes[i].key, d.writes[i].Value) {
				return
			}
		}
	}
}

// Appends are the appends of a Commit. Those to one stream that follow each other, whatever
// its version, are one.
func (s *Staged) Appends() []core.Append {
	list := make([]core.Append, 0, len(s.emitted))
	for i := range s.emitted {
		a := &s.emitted[i].append
		if n := len(list); n > 0 && list[n-1].Stream == a.Stream && a.Expect == core.AnyVersion {
			list[n-1].Events = append(list[n-1].Events, a.Events...)
			continue
		}
		list = append(list, *a)
	}
	return list
}

// result is what an event's handler has said about it.
type result struct {
	action  abi.Action
	delay   time.Duration
	message []byte
}

// emitted is one append of an event.
type emitted struct {
	event  int
	append core.Append
}

// reset begins a batch.
func (x *Stage) reset(ctx context.Context, sources []core.Event) {
	x.ctx, x.sources = ctx, sources
	x.causes = sized(x.causes, len(sources))
	x.results = sized(x.results, len(sources))
	x.Staged.Reset()
	x.growth, x.refused, x.broken, x.storage = 0, "", nil, nil
	x.calls, x.withheld = calls{}, x.withheld[:0]
	x.Begin(0)
}

// Take takes what was staged, and leaves the room of s for the next batch.
func (x *Stage) Take(s *Staged) { x.Staged, *s = *s, x.Staged }

// maxIdleArena bounds the arena that is kept for another batch.
const maxIdleArena = 256 << 10

// Reset forgets what was staged, and keeps the room for it.
func (s *Staged) Reset() {
	clear(s.emitted)
	clear(s.writes)
	clear(s.latest)
	*s = Staged{emitted: s.emitted[:0], writes: s.writes[:0], latest: s.latest, arena: s.arena[:0]}
	if s.latest == nil {
		s.latest = map[string]int{}
	}
	if cap(s.arena) > maxIdleArena {
		s.arena = nil
	}
}

// sized is s with n zero elements.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

// keep copies bytes for as long as the batch lasts.
func (x *Stage) keep(b []byte) []byte {
	if len(x.arena)+len(b) > cap(x.arena) {
		x.arena = make([]byte, 0, max(2*cap(x.arena), len(b), 4<<10)) // what has the old one keeps it
	}
	n := len(x.arena)
	x.arena = append(x.arena, b...)
	return x.arena[n : n+len(b) : n+len(b)]
}

// refuse notes why something is denied or over quota, for the reason of the failure.
func (x *Stage) refuse(e abi.Errno, format string, args ...any) abi.Errno {
	x.refused = fmt.Sprintf(format, args...)
	return e
}

// grants checks that the binding grants what a handler is about to do with a name.
func (x *Stage) grants(kind plugins.CapabilityKind, do, name string) abi.Errno {
	if x.terms.grants.Allow(kind, name) {
		return abi.OK
	}
	needed := plugins.Capability{Kind: kind, Scope: name}
	return x.refuse(abi.Denied, "%s%s needs the grant %s", do, name, needed.String())
}

// spend takes from the bytes that the effects of a batch may have.
func (x *Stage) spend(n int) abi.Errno {
	if x.bytes+n > abi.MaxEffectBytes {
		return x.refuse(abi.Quota, "the effects of a batch have at most %d bytes", abi.MaxEffectBytes)
	}
	x.bytes += n
	return abi.OK
}

// Begin is plugins.Effects'.
func (x *Stage) Begin(event int) {
	if event < len(x.sources) {
		x.out.At(x.sources[event].Position)
	}
}

// Result is plugins.Effects'.
func (x *Stage) Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno {
	if event < 0 || event >= len(x.results) || action < abi.Ack || action > abi.Skip {
		return abi.Invalid
	}
	message = message[:min(len(message), abi.MaxMessageBytes)]
	if e := x.spend(len(message)); e != abi.OK {
		return e
	}
	x.results[event] = result{action, max(delay, 0), x.keep(message)}
	return abi.OK
}

// Append is plugins.Effects'.
func (x *Stage) Append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	e := x.append(event, stream, expected, events)
	x.steps.append(stream, events, x.whyNot(e))
	return e
}

func (x *Stage) append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	name := string(stream)
	switch {
	case event < 0 || event >= len(x.sources) || x.isBehind(event):
		return x.refuse(abi.Invalid, disordered)
	case expected < abi.StreamExists:
		return x.refuse(abi.Invalid, "%d is no expected version", expected)
	case x.terms.binding.Kind == plugins.KindProjection:
		return x.refuse(abi.Denied, "a projection appends nothing, to stream %q either", name)
	}
	if err := core.ValidateStream(name); err != nil {
		return x.refuse(abi.Invalid, "%s", core.AsError(err).Detail)
	}
	if e := x.grants(plugins.CanAppend, "to append to stream ", name); e != abi.OK {
		return e
	}
	a := core.Append{Stream: name, Expect: core.Expect(expected)}
	heldBack := x.ground.HoldsBack(x.sources[event].Position)
	ordinal := x.ordinal(event)
	var in abi.Appended
	for rest := events; len(rest) > 0; {
		var err error
		if rest, err = abi.NextEvent(rest, &in); err != nil {
			return x.refuse(abi.Invalid, "the events to append are not encoded as the ABI has it: %v", err)
		}
		out, e := x.emit(event, ordinal+len(a.Events), name, &in)
		if e != abi.OK {
			return e
		}
		a.Events = append(a.Events, out)
	}
	if len(a.Events) == 0 {
		return x.refuse(abi.Invalid, "an append has at least one event")
	}
	if heldBack {
		return abi.OK
	}
	x.count += len(a.Events)
	x.emitted = append(x.emitted, emitted{event, a})
	return abi.OK
}

// disordered is why an effect is refused whose event is not one of the batch, or has its turn over.
const disordered = "effects are of events of the batch, in their order"

// isBehind reports whether effects of a later event were staged.
func (x *Stage) isBehind(event int) bool {
	return len(x.emitted) > 0 && x.emitted[len(x.emitted)-1].event > event ||
		len(x.writes) > 0 && x.writes[len(x.writes)-1].event > event
}

// ordinal is how many events an event has appended.
func (x *Stage) ordinal(event int) (n int) {
	for i := len(x.emitted) - 1; i >= 0 && x.emitted[i].event == event; i-- {
		n += len(x.emitted[i].append.Events)
	}
	return n
}

// emit makes an event to append of one that a handler has encoded.
func (x *Stage) emit(event, ordinal int, stream string, in *abi.Appended) (core.NewEvent, abi.Errno) {
	src := &x.sources[event]
	typ := string(in.Type)
	switch {
	case in.ID != abi.ID{}:
		return core.NewEvent{}, x.refuse(abi.Invalid, "an event to append has no id: the node makes it")
	case in.Content == abi.ContentJSON && !plugins.IsJSON(in.Data):
		return core.NewEvent{}, x.refuse(abi.Invalid, "the data of an event to append is no JSON")
	case x.count+ordinal-x.ordinal(event) >= abi.MaxAppended:
		return core.NewEvent{}, x.refuse(abi.Quota, "a batch appends at most %d events", abi.MaxAppended)
	case x.terms.loops(stream, typ):
		e := x.refuse(abi.Denied, "%s in %s would be an input of this binding; filter it out, or deploy with allowLoops", typ, stream)
		x.out.Log(abi.Error, plugins.Line("append denied: "+x.refused))
		return core.NewEvent{}, e
	}
	if e := x.spend(len(stream) + len(in.Type) + len(in.Data) + len(in.Metadata)); e != abi.OK {
		return core.NewEvent{}, e
	}
	c := x.cause(event)
	if c.depth >= maxDepth {
		x.brokenBy, x.broken = event, &Failure{Reason: fmt.Sprintf("it is the %dth event of a chain of plugins that append for each other's events, which is the limit", maxDepth), Park: true}
		return core.NewEvent{}, abi.Denied
	}
	metadata, ok := c.metadata(x.entry[:0], in.Metadata, src.ID)
	if !ok {
		return core.NewEvent{}, x.refuse(abi.Invalid, "the metadata of an event to append is no JSON object")
	}
	x.entry = metadata
	e := core.NewEvent{
		ID: x.terms.emittedID(src.ID, ordinal), Type: typ, Time: src.Time,
		Data: x.keep(in.Data), Metadata: x.keep(metadata),
	}
	if in.Content == abi.ContentBytes {
		e.Format = core.Bytes
	}
	if len(e.Data)+len(e.Metadata) > core.MaxEventBytes {
		return core.NewEvent{}, x.refuse(abi.TooLarge, "the data and metadata of an event have at most %d bytes", core.MaxEventBytes)
	}
	return e, abi.OK
}

// Truncate drops what events from n on have staged.
func (x *Stage) Truncate(n int) {
	for len(x.emitted) > 0 && x.emitted[len(x.emitted)-1].event >= n {
		last := len(x.emitted) - 1
		x.count -= len(x.emitted[last].append.Events)
		x.emitted = x.emitted[:last]
	}
	for len(x.writes) > 0 && x.writes[len(x.writes)-1].event >= n {
		x.writes = x.writes[:len(x.writes)-1]
	}
	clear(x.latest)
	for i := range x.writes {
		x.latest[x.writes[i].key] = i
	}
}
