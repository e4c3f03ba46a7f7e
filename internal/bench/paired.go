package main

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// rounds is how often a measure and its floor run in turn.
const rounds = 7

// sample is what one run of a measure or of a floor gave.
type sample struct {
	value float64       // a rate, or where less is better a time
	ops   int           // events, or what else was done
	cpu   time.Duration // processor time for all of them, user and system
}

// rate is the sample of n operations since a time.
func rate(n int, since time.Time) sample {
	return sample{value: float64(n) / time.Since(since).Seconds(), ops: n}
}

// cpuPerOp is in µs; 0 where it was not measured.
func (s sample) cpuPerOp() float64 {
	if s.ops == 0 {
		return 0
	}
	return s.cpu.Seconds() * 1e6 / float64(s.ops)
}

// paired are the runs of a measure and of its floor, round by round.
type paired struct {
	values, floors []sample
	note           string
}

// pair runs a measure and its floor in turn. The processor time of a run is that of
// this process, unless the run has said another. A round in which one of them got
// nothing done, such as a query that was planned for as long as the round took, says
// nothing and is repeated.
func pair(n int, measure, floor func() (sample, error)) (paired, error) {
	var p paired
	for try := 0; len(p.values) < n; try++ {
		if try == 2*n {
			return p, fmt.Errorf("in %d of %d rounds nothing was done", try-len(p.values), try)
		}
		f, err := timed(floor)
		if err != nil {
			return p, err
		}
		v, err := timed(measure)
		if err != nil {
			return p, err
		}
		if f.value > 0 && v.value > 0 {
			p.add(v, f)
		}
	}
	return p, nil
}

func (p *paired) add(value, floor sample) {
	p.values, p.floors = append(p.values, value), append(p.floors, floor)
}

func timed(run func() (sample, error)) (sample, error) {
	before := cpuTime()
	s, err := run()
	if s.cpu == 0 {
		s.cpu = cpuTime() - before
	}
	return s, err
}

// cpuTime is the processor time of this process so far, by getrusage.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no way to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Figure is the median of some rounds and how far they spread.
type Figure struct {
	Median float64 `json:"median"`
	// Low and High bound the rounds but the lowest and the highest one. Of seven
	// rounds, the median of very many would lie between them in 7 of 8 cases.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

func figure(rounds []float64) Figure {
	v := slices.Sorted(slices.Values(rounds))
	if len(v) > 3 {
		v = v[1 : len(v)-1]
	}
	return Figure{Median: median(v), Low: v[0], High: v[len(v)-1]}
}

func (p *paired) value() Figure { return figureOf(p.values, func(s sample) float64 { return s.value }) }
func (p *paired) floor() Figure { return figureOf(p.floors, func(s sample) float64 { return s.value }) }
func (p *paired) cpu() Figure   { return figureOf(p.values, sample.cpuPerOp) }

func (p *paired) floorCPU() Figure { return figureOf(p.floors, sample.cpuPerOp) }

// ratio compares value and floor within each round: its two runs saw the same machine.
func (p *paired) ratio() Figure {
	return p.compared(func(value, floor sample) float64 { return value.value / floor.value })
}

// cpuRatio is how much processor time the measure takes for one of the floor's.
func (p *paired) cpuRatio() Figure {
	return p.compared(func(value, floor sample) float64 { return value.cpuPerOp() / floor.cpuPerOp() })
}

func (p *paired) compared(by func(value, floor sample) float64) Figure {
	ratios := make([]float64, len(p.values))
	for i := range ratios {
		ratios[i] = by(p.values[i], p.floors[i])
	}
	return figure(ratios)
}

func figureOf(samples []sample, of func(sample) float64) Figure {
	v := make([]float64, len(samples))
	for i := range samples {
		v[i] = of(samples[i])
	}
	return figure(v)
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile is the value below which a share q of v lies. It sorts v.
func quantile(v []time.Duration, q float64) time.Duration {
	slices.Sort(v)
	return v[min(int(float64(len(v))*q), len(v)-1)]
}
