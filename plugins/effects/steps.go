package effects

import (
	"slices"
	"strings"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// recorder records the steps of a handler, if it is on: while an event is handled alone.
type recorder struct {
	on bool
	plugins.Steps
	bytes int
}

const (
	// maxStepsBytes bounds the steps that are kept.
	maxStepsBytes = 16 << 10
	// stepBytes is what a step counts beside its texts.
	stepBytes = 64
)

func (r *recorder) begin(on bool) {
	clear(r.List)
	*r = recorder{on: on, Steps: plugins.Steps{List: r.List[:0]}}
}

func (r *recorder) add(s plugins.Step) {
	r.List = append(r.List, s)
	r.bytes += sizeOf(&s)
	old := 0
	for r.bytes > maxStepsBytes && old < len(r.List)-1 {
		r.bytes -= sizeOf(&r.List[old])
		old++
	}
	r.Dropped += old
	r.List = slices.Delete(r.List, 0, old)
}

func sizeOf(s *plugins.Step) int {
	n := stepBytes + len(s.Text) + len(s.Key) + len(s.Stream) + len(s.Type) + len(s.Refused)
	if s.Content != nil {
		n += len(s.Value) + len(s.Base64)
	}
	return n
}

// fill fills in a value.
func fill(s *plugins.Step, value []byte) {
	if s.Bytes = len(value); len(value) <= plugins.MaxStepBytes {
		s.Content = new(plugins.ContentOf(slices.Clone(value)))
	}
}

func (r *recorder) log(level abi.Level, line []byte) {
	if r.on {
		r.add(plugins.Step{Do: plugins.DoLog, Level: level.String(), Text: string(line)})
	}
}

func (r *recorder) write(key []byte, v Value, refused string) {
	if !r.on {
		return
	}
	s := plugins.Step{Do: plugins.DoDelete, Key: shown(key), Refused: refused}
	if v.OK {
		s.Do = plugins.DoPut
		fill(&s, v.Bytes)
	}
	r.add(s)
}

func (r *recorder) append(stream, events []byte, refused string) {
	if !r.on {
		return
	}
	for rest := events; len(rest) > 0; {
		var e abi.Appended
		var err error
		if rest, err = abi.NextEvent(rest, &e); err != nil {
			return
		}
		s := plugins.Step{Do: plugins.DoAppend, Stream: shown(stream), Type: shown(e.Type), Refused: refused}
		fill(&s, e.Data)
		r.add(s)
	}
}

// shown is a name that a handler has given, which may be none.
func shown(name []byte) string {
	return strings.ToValidUTF8(string(name[:min(len(name), plugins.MaxStepBytes)]), "�")
}

// Steps are what the handler did in the last call of Handle, if that was with one event.
func (x *Stage) Steps() plugins.Steps {
	return plugins.Steps{List: slices.Clone(x.steps.List), Dropped: x.steps.Dropped}
}

// whyNot says why an effect was refused; "" if it was not.
func (x *Stage) whyNot(e abi.Errno) string {
	switch {
	case e == abi.OK:
		return ""
	case x.refused != "":
		return x.refused
	}
	return e.Error()
}

// reports is the plugins.Output of a handler.
type reports struct{ *Stage }

// Log is plugins.Output.Log.
func (r reports) Log(level abi.Level, line []byte) {
	line = r.mask.line(line)
	r.steps.log(level, line)
	r.out.Log(level, line)
}

// Metric is plugins.Output.Metric.
func (r reports) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	switch e := r.out.Metric(kind, r.mask.line(name), value); e {
	case abi.Invalid:
		return r.refuse(e, "a metric is of the kind that it was first, and a counter does not go down")
	case abi.Quota:
		return r.refuse(e, "a binding has at most %d metrics", abi.MaxSeries)
	default:
		return e
	}
}
