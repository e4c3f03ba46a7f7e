package main

import (
	"context"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestInterruptedAppend reports that an append may have been written, also after a signal.
func TestInterruptedAppend(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	unknown := core.Errorf(core.CodeUnknownOutcome, "the append was not answered")
	f := failureOf(ctx, &advised{unknown, "Repeat the command with --id 1."})
	if f.exit != exitInterrupted || f.Code != core.CodeUnknownOutcome || !strings.Contains(f.words, "Repeat the command") {
		t.Errorf("exit code %d, %s: %s", f.exit, f.Code, f.words)
	}
	f = failureOf(ctx, core.AsError(context.Canceled))
	if f.exit != exitInterrupted || f.Code != core.CodeCanceled || f.words != "Interrupted.\n" {
		t.Errorf("exit code %d, %s: %s", f.exit, f.Code, f.words)
	}
}
