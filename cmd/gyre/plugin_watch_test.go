package main

import (
	"strings"
	"testing"

	"github.com/gyre-events/gyre/plugins"
)

// TestWatchedTable: the table is the state, at most as high as there is room for. What has changed
// last is bold. A difference is seen at once.
func TestWatchedTable(t *testing.T) {
	table := &watchedTable{name: "changes"}
	entry := func(key, value string) plugins.Entry {
		return plugins.Entry{Key: key, Value: []byte(value), Deleted: value == ""}
	}
	for _, step := range []struct {
		m    plugins.WatchMessage
		want []string
	}{
		{plugins.WatchMessage{Kind: plugins.WatchState, Reset: true, Generation: 1, Entries: []plugins.Entry{entry("b", "1"), entry("a", "2")}}, nil},
		{plugins.WatchMessage{Kind: plugins.WatchLive, Generation: 1, Positions: []uint64{7}}, []string{"generation 1  position 7  2 keys", "KEY", "a    2", "b    1"}},
		{plugins.WatchMessage{Kind: plugins.WatchChange, Generation: 1, Position: 9, Entries: []plugins.Entry{entry("b", "5"), entry("a", "")}}, []string{"position 9  1 key", "KEY", "\x1b[1mb    5      0     9\x1b[0m"}},
		{plugins.WatchMessage{Kind: plugins.WatchDifference, Generation: 2, Entries: []plugins.Entry{entry("b", "6"), entry("c", "1")}}, []string{"", "", "b    5"}},
		{plugins.WatchMessage{Kind: plugins.WatchLive, Generation: 2, Positions: []uint64{9}}, []string{"generation 2  position 9  2 keys", "KEY", "b    6", "c    1"}},
		{plugins.WatchMessage{Kind: plugins.WatchChange, Generation: 2, Position: 10, Entries: []plugins.Entry{entry("d", "1"), entry("e", "1"), entry("f", "1")}}, []string{"5 keys", "KEY", "b", "c", "d", "… and 2 more keys"}},
	} {
		if err := table.take(&step.m); err != nil {
			t.Fatal(err)
		}
		if step.want == nil {
			continue
		}
		lines := table.lines(6)
		if len(lines) != len(step.want) {
			t.Fatalf("%+v: %q", step.m, lines)
		}
		for i, want := range step.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%+v: line %d is %q, want %q", step.m, i, lines[i], want)
			}
		}
	}
}
