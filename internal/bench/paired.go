package main

import (
	"slices"
	"time"
)

// rounds is how often a measure and its floor run in turn.
const rounds = 7

// paired are the figures of a measure and of its floor, round by round. Higher
// is better.
type paired struct {
	values, floors []float64
	note           string
}

// pair runs a measure and its floor in turn.
func pair(n int, measure, floor func() (float64, error)) (paired, error) {
	var p paired
	for range n {
		f, err := floor()
		if err != nil {
			return p, err
		}
		v, err := measure()
		if err != nil {
			return p, err
		}
		p.values, p.floors = append(p.values, v), append(p.floors, f)
	}
	return p, nil
}

func (p paired) value() float64 { return median(p.values) }
func (p paired) floor() float64 { return median(p.floors) }

// ratio is the median of the rounds' ratios: the two runs of a round see the
// same machine.
func (p paired) ratio() float64 {
	ratios := make([]float64, len(p.values))
	for i := range ratios {
		ratios[i] = p.values[i] / p.floors[i]
	}
	return median(ratios)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// quantile is the value below which a share q of v lies. It sorts v.
func quantile(v []time.Duration, q float64) time.Duration {
	slices.Sort(v)
	return v[min(int(float64(len(v))*q), len(v)-1)]
}

// perSecond is a rate.
func perSecond(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }
