package trial

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// room is how much more is listed of something. What is listed has a bound in bytes, too.
type room struct{ entries, bytes int }

// maxListedBytes bounds each list of a result.
const maxListedBytes = 256 << 10

func newRoom(entries int) room {
	if entries > plugins.MaxShown { // as in a test, where all is asked for
		return room{entries, math.MaxInt}
	}
	return room{entries, maxListedBytes}
}

// take takes the room of an entry. Behind the first that does not fit nothing is listed.
func (r *room) take(bytes int) bool {
	if r.entries == 0 || bytes > r.bytes {
		r.entries = 0
		return false
	}
	r.entries--
	r.bytes -= bytes
	return true
}

// tally counts what a version does, and lists the first of everything.
type tally struct {
	plugins.Trial
	config  *Config
	streams names
	types   names
	metrics map[string]float64
	took    time.Duration

	outputs, failures, lines room
}

func newTally(c *Config) *tally {
	t := &tally{config: c, streams: names{}, types: names{}, metrics: map[string]float64{}}
	t.outputs, t.failures, t.lines = newRoom(c.Show), newRoom(c.Show), newRoom(c.Show)
	t.Outputs.First, t.Outputs.Buckets, t.Outputs.BucketSize = []plugins.OutputEvent{}, []int{}, 1
	t.Failed, t.Logs.First = []plugins.FailedTry{}, []plugins.LogLine{}
	return t
}

// batch counts a call of the handler.
func (t *tally) batch(took time.Duration, fuel int64) {
	t.Batches++
	t.took += took
	t.Fuel += fuel
	t.MaxFuel = max(t.MaxFuel, fuel)
}

// settled counts an event.
func (t *tally) settled(s *Settled) {
	switch s.Fate {
	case plugins.Skipped:
		t.Skipped++
	case plugins.Parked:
		t.Parked++
	default:
		t.Acked++
	}
	if s.Failure != nil {
		t.failed(s.Event, s.Lane, s.Attempts, s.Failure.Reason, s.Failure.Stack, s.Fate == plugins.Parked)
	}
	for a := range s.Appends() {
		t.append(s.Event.Position, a)
	}
}

// failed lists an event that was not handled at once.
func (t *tally) failed(e *core.Event, lane, attempts int, reason, stack string, parked bool) {
	if t.failures.take(len(e.Stream) + len(e.Type) + len(reason) + len(stack)) {
		t.Failed = append(t.Failed, plugins.FailedTry{
			Position: e.Position, Stream: strings.Clone(e.Stream), Type: strings.Clone(e.Type), Lane: lane, Attempts: attempts, Parked: parked, Reason: reason, Stack: stack,
		})
	}
}

func (t *tally) append(source uint64, a *core.Append) {
	t.Outputs.Count += len(a.Events)
	t.streams.count(a.Stream, len(a.Events))
	t.bucket(source, len(a.Events))
	for i := range a.Events {
		e := &a.Events[i]
		t.types.count(e.Type, 1)
		if t.outputs.take(len(a.Stream) + len(e.Type) + len(e.Data) + len(e.Metadata)) {
			t.Outputs.First = append(t.Outputs.First, outputOf(source, a, i))
		}
	}
}

// outputOf is an event of an append.
func outputOf(source uint64, a *core.Append, i int) plugins.OutputEvent {
	e := &a.Events[i]
	out := plugins.OutputEvent{
		Source: source, Stream: a.Stream, Expected: Expected(a, i), ID: e.ID, Type: e.Type,
		Content: plugins.ContentOf(slices.Clone(e.Data)), Metadata: slices.Clone(e.Metadata),
	}
	if e.Format != core.JSON && out.Base64 == nil {
		out.Value, out.Base64 = nil, out.Value
	}
	return out
}

// Expected is the version that an event of an append expects of its stream, as abi has it.
func Expected(a *core.Append, event int) int64 {
	if event > 0 && a.Expect != core.AnyVersion {
		return abi.StreamExists
	}
	return int64(a.Expect)
}

// bucket counts outputs of an event. Buckets are joined two by two as the positions get on.
func (t *tally) bucket(source uint64, n int) {
	o := &t.Outputs
	at := (source - min(t.config.From, source)) / o.BucketSize
	for at >= plugins.DryRunBuckets {
		for i := range (len(o.Buckets) + 1) / 2 {
			sum := o.Buckets[2*i]
			if 2*i+1 < len(o.Buckets) {
				sum += o.Buckets[2*i+1]
			}
			o.Buckets[i] = sum
		}
		o.Buckets = o.Buckets[:(len(o.Buckets)+1)/2]
		o.BucketSize, at = 2*o.BucketSize, at/2
	}
	for uint64(len(o.Buckets)) <= at {
		o.Buckets = append(o.Buckets, 0)
	}
	o.Buckets[at] += n
}

func (t *tally) log(lane int, position uint64, level abi.Level, line []byte) {
	t.Logs.Count++
	if t.lines.take(len(line)) {
		t.Logs.First = append(t.Logs.First, plugins.LogLine{
			Seq: uint64(t.Logs.Count), Time: time.Now().UTC(), Level: level.String(), Lane: lane,
			Generation: t.config.Binding.Generation, Version: t.config.Binding.Version, Position: position, Text: string(line),
		})
	}
}

func (t *tally) metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	before, known := t.metrics[string(name)]
	switch {
	case len(name) == 0:
		return abi.Invalid
	case !known && len(t.metrics) >= abi.MaxSeries:
		return abi.Quota
	case kind == abi.Counter:
		value += before
	}
	t.metrics[string(name)] = value
	return abi.OK
}

// result is the trial of a binding.
func (t *tally) result(b *plugins.Binding) plugins.Trial {
	r := t.Trial
	r.Version, r.SHA256 = b.Version, b.SHA256
	r.Seconds = t.took.Seconds()
	r.Outputs.Streams, r.Outputs.Types = t.streams.tally(), t.types.tally()
	for _, name := range slices.Sorted(maps.Keys(t.metrics)) {
		r.Metrics = append(r.Metrics, plugins.MetricValue{Name: name, Value: t.metrics[name]})
	}
	return r
}

// names counts by name.
type names map[string]*int

func (n names) count(name string, events int) {
	c := n[name]
	if c == nil {
		if len(n) >= plugins.MaxNames {
			name = "" // no stream and no type is called so
		}
		if c = n[name]; c == nil {
			c = new(int)
			n[strings.Clone(name)] = c
		}
	}
	*c += events
}

func (n names) tally() plugins.Tally {
	t := plugins.Tally{Names: []plugins.Counted{}}
	for name, count := range n {
		if name == "" {
			t.Others = *count
			continue
		}
		t.Names = append(t.Names, plugins.Counted{Name: name, Count: *count})
	}
	slices.SortFunc(t.Names, func(a, b plugins.Counted) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	for len(t.Names) > plugins.MaxTally {
		last := len(t.Names) - 1
		t.Others += t.Names[last].Count
		t.Names = t.Names[:last]
	}
	return t
}
