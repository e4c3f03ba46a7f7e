package main

import (
	"strings"
	"testing"
	"time"
)

func TestFigureLeavesTheExtremesOut(t *testing.T) {
	for _, c := range []struct {
		rounds []float64
		want   Figure
	}{
		{[]float64{5}, Figure{5, 5, 5}},
		{[]float64{3, 1}, Figure{2, 1, 3}},
		{[]float64{9, 1, 2, 3, 100}, Figure{3, 2, 9}},
		{[]float64{7, 1, 2, 3, 4, 5, 6}, Figure{4, 2, 6}},
	} {
		if got := figure(c.rounds); got != c.want {
			t.Errorf("figure(%v) = %+v, want %+v", c.rounds, got, c.want)
		}
	}
}

func TestVerdictNeedsAClearSpread(t *testing.T) {
	for _, c := range []struct {
		bar  *bar
		f    Figure
		want verdict
	}{
		{atLeast(ofRatio, 0.5), Figure{0.6, 0.5, 0.7}, holds},
		{atLeast(ofRatio, 0.5), Figure{0.6, 0.4, 0.7}, near},
		{atLeast(ofRatio, 0.5), Figure{0.4, 0.3, 0.49}, misses},
		{atMost(ofValue, 2), Figure{1, 1, 2}, holds},
		{atMost(ofValue, 2), Figure{1, 1, 2.1}, near},
		{atMost(ofValue, 2), once(2.1), misses},
	} {
		if got := c.bar.judge(c.f); got != c.want {
			t.Errorf("%s judges %s %q, want %q", c.bar, c.f, got, c.want)
		}
	}
}

// A bar is judged by its own figure, and each round's runs are compared with each other.
func TestBarsOfProcessorTime(t *testing.T) {
	var p paired
	for i := range 5 {
		speed := float64(i + 1) // of the machine, in this round
		p.add(sample{value: 10 * speed, ops: 1000, cpu: 3 * time.Millisecond}, sample{value: 20 * speed, ops: 1000, cpu: 2 * time.Millisecond})
	}
	b := &bench{}
	b.add(p.result("x", "events/s", atMost(ofCPURatio, 1.4)))
	r := b.results[0]
	if r.Verdict != misses || *r.CPURatio != (Figure{1.5, 1.5, 1.5}) || *r.Ratio != (Figure{0.5, 0.5, 0.5}) || *r.CPU != (Figure{3, 3, 3}) {
		t.Errorf("%+v: ratio %v, processor time %v, to floor %v", r, r.Ratio, r.CPU, r.CPURatio)
	}
	var table strings.Builder
	b.print(&table)
	if !strings.Contains(table.String(), "cpuRatio ≤ 1.4") || !strings.Contains(table.String(), string(misses)) {
		t.Errorf("the table does not show the bar and the verdict:\n%s", table.String())
	}
}

func TestRoundsWithoutWorkAreRepeated(t *testing.T) {
	runs := 0
	half := func() (sample, error) {
		runs++
		return sample{value: float64(runs % 2), ops: 1}, nil
	}
	whole := func() (sample, error) { return sample{value: 1, ops: 1}, nil }
	if p, err := pair(3, whole, half); err != nil || len(p.values) != 3 || p.ratio() != once(1) {
		t.Errorf("%+v, %v", p, err)
	}
	never := func() (sample, error) { return sample{}, nil }
	if _, err := pair(3, whole, never); err == nil {
		t.Error("a floor that never does anything is no error")
	}
}
