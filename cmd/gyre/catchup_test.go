package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/subscriptions"
)

// TestWayTo: how far it is counts from the first look, and is a line now and then.
func TestWayTo(t *testing.T) {
	var stderr bytes.Buffer
	w := wayTo{app: &app{stderr: &stderr}, head: 300}
	w.show(&subscriptions.Info{Finished: 100}, 0)
	w.show(&subscriptions.Info{Finished: 120}, 20)
	if stderr.Len() > 0 {
		t.Errorf("it told too soon: %s", &stderr)
	}
	w.meter.lastLine = time.Now().Add(-time.Minute)
	w.show(&subscriptions.Info{Finished: 180}, 80)
	if got := stderr.String(); !strings.HasPrefix(got, "Catching up: 80 events, ") || !strings.HasSuffix(got, ", 40%\n") {
		t.Errorf("told %q", got)
	}
}
