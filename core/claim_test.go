package core_test

import (
	"context"
	"errors"
	"testing"

	"github.com/gyre-events/gyre/core"
)

func TestClaim(t *testing.T) {
	late := context.DeadlineExceeded
	for _, c := range []struct {
		name string
		do   func(c *core.Claim)
		want core.Code
	}{
		{"nothing has begun", func(*core.Claim) {}, core.CodeTimeout},
		{"it waits for quorum", func(c *core.Claim) { c.WaitsFor(core.Errorf(core.CodeNoNodeAvailable, "no quorum")) }, core.CodeNoNodeAvailable},
		{"it has begun", func(c *core.Claim) { c.Begin() }, core.CodeUnknownOutcome},
		{"it has begun and was taken back", func(c *core.Claim) { c.Begin(); c.TakeBack() }, core.CodeTimeout},
		{"one of two was taken back", func(c *core.Claim) { c.Begin(); c.Begin(); c.TakeBack() }, core.CodeUnknownOutcome},
		{"it was taken back and has begun again", func(c *core.Claim) { c.Begin(); c.TakeBack(); c.Begin() }, core.CodeUnknownOutcome},
	} {
		var claim core.Claim
		c.do(&claim)
		if err := claim.GivenUp(late); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if claim.Begin() {
			t.Errorf("%s: it begins after it was given up", c.name)
		}
	}
	var claim core.Claim
	claim.Begin()
	if claim.Withdraw() || claim.TakeBack() {
		t.Error("a Commit whose caller was told unknown_outcome may begin again")
	}
}
