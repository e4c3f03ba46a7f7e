package wasm

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// Segments that are joined leave the same memory as before.
func TestDataSegmentsAreJoined(t *testing.T) {
	last := segment{pageBytes - 4, []byte("last")}
	for name, c := range map[string]struct {
		segments []segment
		want     int
	}{
		"one":                    {[]segment{{5, []byte("a")}}, 1},
		"adjacent":               {[]segment{{0, []byte("ab")}, {2, []byte("cd")}, last}, 2},
		"a gap":                  {[]segment{{1, []byte("a")}, {2 + maxGap, []byte("b")}, {3 + maxGap, []byte("c")}}, 1},
		"too large a gap":        {[]segment{{1, []byte("a")}, {3 + maxGap, []byte("b")}}, 2},
		"any order":              {[]segment{last, {40, []byte("d")}, {0, []byte("a")}, {20, []byte("c")}}, 2},
		"empty ones":             {[]segment{{7, nil}, {7, []byte("a")}, {8, nil}, {1000, nil}}, 2},
		"the later one is there": {[]segment{{10, []byte("aaaa")}, {12, []byte("bbbb")}, {30, []byte("c")}}, 3},
		"within another":         {[]segment{{0, []byte("aaaa")}, {1, []byte("b")}, {2, []byte("c")}}, 3},
	} {
		b := &built{memory: []uint32{1}, segments: c.segments, exports: []export{{"memory", kindMemory, 0}}}
		m, err := Parse(b.bytes())
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := binary.Uvarint((&meter{m: m}).dataSection()); int(n) != c.want {
			t.Errorf("%s: %d segments, want %d", name, n, c.want)
		}
		if got, want := startMemory(t, m.Meter(), &refueler{}), startMemory(t, b.bytes(), nil); !bytes.Equal(got, want) {
			t.Errorf("%s: the memory differs", name)
		}
	}
}

// A module that names segments by their index keeps them.
func TestDataSegmentsWithACountAreKept(t *testing.T) {
	b := &built{memory: []uint32{1}, segments: []segment{{0, []byte("ab")}, {2, []byte("cd")}}}
	m, err := Parse(b.bytes())
	if err != nil {
		t.Fatal(err)
	}
	m.dataCount = 2
	if got := (&meter{m: m}).dataSection(); !bytes.Equal(got, m.sections[sectionData]) {
		t.Errorf("%x", got)
	}
}

// startMemory is the memory of a module that has started.
func startMemory(t *testing.T, module []byte, f *refueler) []byte {
	t.Helper()
	mod, err := instantiate(t, module, f)
	if err != nil {
		t.Fatal(err)
	}
	view, _ := mod.Memory().Read(0, mod.Memory().Size())
	return bytes.Clone(view)
}
