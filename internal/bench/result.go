package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Result is one line of the table.
type Result struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"` // of value and floor
	Value Figure  `json:"value"`
	Floor *Figure `json:"floor"` // null where there is none
	// Ratio is value to floor, of the runs of each round.
	Ratio *Figure `json:"ratio"`
	// CPU and FloorCPU are µs of processor time for each operation, CPURatio the one to
	// the other: the figures that travel to a machine with slower processors. Null where
	// they were not measured.
	CPU      *Figure `json:"cpu"`
	FloorCPU *Figure `json:"floorCpu"`
	CPURatio *Figure `json:"cpuRatio"`

	Bar     *bar    `json:"bar"` // null where there is none
	Verdict verdict `json:"verdict,omitempty"`
	Note    string  `json:"note,omitempty"`
}

// bar is what one of a result's figures has to reach, or not to pass.
type bar struct {
	Of    barOf   `json:"of"`
	Limit float64 `json:"limit"`
	// Above says that less is worse.
	Above bool `json:"above"`
}

// barOf names a figure that has a bar.
type barOf string

const (
	ofValue    barOf = "value"
	ofRatio    barOf = "ratio"
	ofCPURatio barOf = "cpuRatio"
)

// verdict is how a figure stands to its bar.
type verdict string

const (
	holds  verdict = "holds"
	misses verdict = "misses"
	// near: the bar lies within the spread of the rounds.
	near verdict = "too near to tell"
)

func (b *bar) judge(f Figure) verdict {
	switch {
	case f.Low >= b.Limit && b.Above, f.High <= b.Limit && !b.Above:
		return holds
	case f.High < b.Limit && b.Above, f.Low > b.Limit && !b.Above:
		return misses
	}
	return near
}

// atLeast and atMost are bars of a figure; without a limit there is none.
func atLeast(of barOf, limit float64) *bar { return &bar{of, limit, true} }
func atMost(of barOf, limit float64) *bar  { return &bar{of, limit, false} }

// result is a measure beside its floor.
func (p *paired) result(name, unit string, x *bar) Result {
	value, floor, ratio := p.value(), p.floor(), p.ratio()
	r := Result{Name: name, Unit: unit, Value: value, Floor: &floor, Ratio: &ratio, Bar: x, Note: p.note}
	if cpu, floorCPU := p.cpu(), p.floorCPU(); cpu.Low > 0 && floorCPU.Low > 0 {
		cpuRatio := p.cpuRatio()
		r.CPU, r.FloorCPU, r.CPURatio = &cpu, &floorCPU, &cpuRatio
	}
	return r
}

// alone is a figure without a floor. A value that was measured once has no spread.
func alone(name, unit string, value Figure, x *bar, note string) Result {
	return Result{Name: name, Unit: unit, Value: value, Bar: x, Note: note}
}

func once(value float64) Figure { return Figure{value, value, value} }

// judged is the figure that the bar is of.
func (r *Result) judged() Figure {
	switch r.Bar.Of {
	case ofRatio:
		return *r.Ratio
	case ofCPURatio:
		return *r.CPURatio
	}
	return r.Value
}

// add judges a result, records it and says it at once.
func (b *bench) add(r Result) {
	if r.Bar != nil {
		r.Verdict = r.Bar.judge(r.judged())
	}
	b.results = append(b.results, r)
	b.progress("%s: %s", r.Name, r.line())
}

func (f Figure) String() string {
	if f.Low == f.High {
		return fmt.Sprintf("%.3g", f.Median)
	}
	return fmt.Sprintf("%.3g (%.3g–%.3g)", f.Median, f.Low, f.High)
}

func (b *bar) String() string {
	sign := "≤"
	if b.Above {
		sign = "≥"
	}
	return fmt.Sprintf("%s %s %.3g", b.Of, sign, b.Limit)
}

func (r *Result) line() string {
	s := fmt.Sprintf("%s %s", r.Value, r.Unit)
	if r.Floor != nil {
		s += fmt.Sprintf(", floor %s, ratio %s", r.Floor, r.Ratio)
	}
	if r.CPURatio != nil {
		s += fmt.Sprintf(", %s µs of processor time each, floor %s", r.CPU, r.FloorCPU)
	}
	if r.Bar != nil {
		s += fmt.Sprintf(", bar %s: %s", r.Bar, r.Verdict)
	}
	return s
}

// print writes the table. Each figure is a median, with the spread of the rounds.
func (b *bench) print(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "name\tvalue\tunit\tratio to floor\tµs cpu each\tcpu to floor\tbar\tverdict")
	or := func(f *Figure) string {
		if f == nil {
			return "–"
		}
		return f.String()
	}
	for i := range b.results {
		r := &b.results[i]
		limit := "–"
		if r.Bar != nil {
			limit = r.Bar.String()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			r.Name, r.Value, r.Unit, or(r.Ratio), or(r.CPU), or(r.CPURatio), limit, r.Verdict)
	}
	_ = w.Flush()
}
