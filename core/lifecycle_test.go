package core_test

import (
	"testing"

	"github.com/gyre-events/gyre/core"
)

// D09: what a StreamOp may not be about, or beside.
func TestValidateStreamOps(t *testing.T) {
	op := func(stream string, x core.Expect, action core.StreamAction) core.StreamOp {
		return core.StreamOp{Stream: stream, Expect: x, Action: action}
	}
	ops := func(ops ...core.StreamOp) core.Commit { return core.Commit{Streams: ops} }
	appends := []core.Append{{Stream: "a", Events: []core.NewEvent{{Type: "t", Data: []byte("{}")}}}}
	const none = -1
	for _, c := range []struct {
		name    string
		c       core.Commit
		code    core.Code // "" = valid
		element int
	}{
		{"streams only", ops(op("a", 3, core.DeleteStream), op("b", core.AnyVersion, core.TombstoneStream)), "", none},
		{"a checked stream", core.Commit{Checks: []core.Check{{Stream: "a"}}, Streams: []core.StreamOp{op("a", 0, core.DeleteStream)}}, "", none},
		{"beside an append", core.Commit{Appends: appends, Streams: []core.StreamOp{op("b", 0, core.RemoveStream)}}, "", none},
		{"$all", ops(op(core.All, 0, core.DeleteStream)), core.CodeReservedStreamName, 0},
		{"$all, removed", ops(op("a", 0, core.DeleteStream), op(core.All, 0, core.RemoveStream)), core.CodeReservedStreamName, 1},
		{"a stream of the system", core.Commit{System: true, Streams: []core.StreamOp{op("$s", 0, core.DeleteStream)}}, core.CodeReservedStreamName, 0},
		{"no name", ops(op("", 0, core.DeleteStream)), core.CodeInvalidStreamName, 0},
		{"a bad expectation", ops(op("a", core.StreamExists-1, core.DeleteStream)), core.CodeInvalidExpectedVersion, 0},
		{"an unknown action", ops(op("a", 0, core.TombstoneStream+1)), core.CodeInvalidRequest, 0},
		{"twice", ops(op("a", 0, core.DeleteStream), op("a", 0, core.UndeleteStream)), core.CodeInvalidRequest, 1},
		{"appended to", core.Commit{Appends: appends, Streams: []core.StreamOp{op("a", 0, core.DeleteStream)}}, core.CodeInvalidRequest, 1},
		{"too many", ops(make([]core.StreamOp, core.MaxCommitStreams+1)...), core.CodeCommitTooLarge, none},
	} {
		err := core.AsError(c.c.Validate())
		switch {
		case c.code == "" && err == nil:
		case err == nil || err.Code != c.code:
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		case c.element == none && err.Element != nil || c.element != none && (err.Element == nil || *err.Element != c.element):
			t.Errorf("%s: %v at element %v, want %d", c.name, err, err.Element, c.element)
		}
	}
}
