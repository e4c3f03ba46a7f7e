package main

import (
	"encoding/json"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gyre-events/gyre/plugins"
)

// handled is the script's command that waits until a plugin has handled all events.
func handled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: handled NAME")
	}
	for by := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, err := gyre(ts, []string{"plugin", "info", args[0], "-o", "json"}).Output()
		ts.Check(err)
		var s plugins.Status
		ts.Check(json.Unmarshal(text, &s))
		if s.State == plugins.Running && s.Lag == 0 {
			return
		}
		if time.Now().After(by) {
			ts.Fatalf("it does not get there: %s", text)
		}
	}
}
