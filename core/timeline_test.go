package core

import (
	"errors"
	"testing"
)

func TestTimelines(t *testing.T) {
	s := State{Log: "log", Head: 9, Timelines: []Timeline{
		{"one", 0, "former"}, {"two", 5, "former"}, {"three", 5, "log"}, {"four", 7, "log"},
	}}
	if s.Timeline() != "four" || s.Cursor(8) != (Cursor{Log: "four", Position: 8}) {
		t.Errorf("timeline %q, cursor %v", s.Timeline(), s.Cursor(8))
	}
	for _, c := range []struct {
		timeline string
		position uint64
		want     error
	}{
		{"one", 0, nil}, {"one", 5, nil}, {"one", 6, CodeLogChanged}, {"one", 9, CodeLogChanged},
		{"two", 5, nil}, {"two", 6, CodeLogChanged},
		{"three", 7, nil}, {"three", 8, CodeLogChanged},
		{"four", 8, nil}, {"four", 9, nil}, {"four", 10, CodeInvalidCursor},
		{"former", 5, nil}, {"former", 6, CodeLogChanged},
		{"five", 0, CodeLogChanged}, {"five", 10, CodeLogChanged},
		{"log", 9, nil}, {"log", 10, CodeInvalidCursor},
		{"", 9, nil}, {"", 10, CodeInvalidCursor},
	} {
		if err := s.checkPlace(c.timeline, c.position); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("position %d of %q: %v, want %v", c.position, c.timeline, err, c.want)
		}
	}
}

func TestNoTimelines(t *testing.T) {
	s := State{Log: "log", Head: 9}
	if s.Timeline() != "log" || s.checkPlace("log", 9) != nil || !errors.Is(s.checkPlace("other", 1), CodeLogChanged) {
		t.Errorf("timeline %q", s.Timeline())
	}
}
