package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
)

func TestLineWriter(t *testing.T) {
	var out bytes.Buffer
	w := &lineWriter{mu: new(sync.Mutex), to: &out, prefix: "[7] "}
	long := strings.Repeat("x", maxLinePart)
	for _, part := range []string{"a", "b\n\nc\r\nd", "\n", long + "y\nlast \x1b[31mline"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("wrote %d of %d, %v", n, len(part), err)
		}
	}
	w.flush()
	w.flush()
	want := "[7] ab\n[7] c\r\n[7] d\n[7] " + long + "\n[7] y\n[7] last \x1b[31mline\n"
	if out.String() != want {
		t.Errorf("wrote %.300q", out.String())
	}
	if w.last != "last  [31mline" {
		t.Errorf("kept %q", w.last)
	}
}
