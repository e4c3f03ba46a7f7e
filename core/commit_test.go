package core_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

func TestValidate(t *testing.T) {
	event := core.NewEvent{Type: "t", Data: []byte("{}")}
	with := func(change func(e *core.NewEvent)) core.Commit {
		e := event
		change(&e)
		return core.Commit{Appends: []core.Append{
			{Stream: "first", Events: []core.NewEvent{event}},
			{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{event, e}},
		}}
	}
	to := func(stream string, x core.Expect) core.Commit {
		return core.Commit{Appends: []core.Append{{Stream: stream, Expect: x, Events: []core.NewEvent{event}}}}
	}
	check := func(stream string, x core.Expect) core.Commit {
		c := to("a", 0)
		c.Checks = []core.Check{{Stream: "b", Expect: 1}, {Stream: stream, Expect: x}}
		return c
	}
	record := func(r core.RecordOp) core.Commit { return core.Commit{Records: []core.RecordOp{r}} }
	bytes := func(n int) func(e *core.NewEvent) {
		return func(e *core.NewEvent) { e.Format, e.Data = core.Bytes, make([]byte, n) }
	}
	const none = -1
	cases := []struct {
		name    string
		c       core.Commit
		code    core.Code // "" = valid
		element int
	}{
		{"plain", to("a", core.AnyVersion), "", none},
		{"every kind of expectation", to("a", core.StreamExists), "", none},
		{"largest version", to("a", core.MaxNumber), "", none},
		{"unicode name", to("日本語 🌀", 0), "", none},
		{"longest name", to(strings.Repeat("x", core.MaxStreamNameBytes), 0), "", none},
		{"records only", record(core.RecordOp{Table: "t", Key: "k"}), "", none},
		{"nothing", core.Commit{}, core.CodeEmptyAppend, none},
		{"checks only", core.Commit{Checks: []core.Check{{Stream: "a"}}}, core.CodeEmptyAppend, none},
		{"no events", core.Commit{Appends: []core.Append{to("a", 0).Appends[0], {Stream: "b"}}}, core.CodeEmptyAppend, 1},

		{"links", core.Commit{Appends: []core.Append{{Stream: "a", Links: []core.ID{{1}}}}}, "", none},
		{"links and events", core.Commit{Appends: []core.Append{{Stream: "a", Events: []core.NewEvent{event}, Links: []core.ID{{1}}}}}, core.CodeInvalidRequest, 0},
		{"link to nothing", core.Commit{Appends: []core.Append{{Stream: "a", Links: []core.ID{{1}, {}}}}}, core.CodeInvalidEventID, 0},
		{"B10 links to $all", core.Commit{Appends: []core.Append{{Stream: core.All, Links: []core.ID{{1}}}}}, core.CodeReservedStreamName, 0},
		{"many links", core.Commit{Appends: []core.Append{{Stream: "a", Links: slices.Repeat([]core.ID{{1}}, core.MaxCommitEvents+1)}}}, core.CodeCommitTooLarge, none},

		{"no name", to("", 0), core.CodeInvalidStreamName, 0},
		{"long name", to(strings.Repeat("x", core.MaxStreamNameBytes+1), 0), core.CodeInvalidStreamName, 0},
		{"a dot", to(".", 0), core.CodeInvalidStreamName, 0},
		{"two dots", to("..", 0), core.CodeInvalidStreamName, 0},
		{"three dots", to("...", 0), "", none},
		{"newline in a name", to("a\nb", 0), core.CodeInvalidStreamName, 0},
		{"delete in a name", to("a\x7f", 0), core.CodeInvalidStreamName, 0},
		{"C1 control in a name", to("a\u0085", 0), core.CodeInvalidStreamName, 0},
		{"broken UTF-8 in a name", to("a\xff", 0), core.CodeInvalidStreamName, 0},
		{"$all", to(core.All, 0), core.CodeReservedStreamName, 0},
		{"reserved", to("$", 0), core.CodeReservedStreamName, 0},
		{"dollar inside", to("a$", 0), "", none},

		{"expectation too low", to("a", core.StreamExists-1), core.CodeInvalidExpectedVersion, 0},
		{"expectation too high", to("a", core.MaxNumber+1), core.CodeInvalidExpectedVersion, 0},
		{"check of a bad name", check("", 0), core.CodeInvalidStreamName, 2},
		{"check of $all", check(core.All, 0), core.CodeReservedStreamName, 2},
		{"check of a bad expectation", check("b", math.MinInt64), core.CodeInvalidExpectedVersion, 2},
		{"many checks", core.Commit{Appends: to("a", 0).Appends, Checks: make([]core.Check, core.MaxCommitChecks+1)}, core.CodeCommitTooLarge, none},

		{"no type", with(func(e *core.NewEvent) { e.Type = "" }), core.CodeInvalidEventType, 1},
		{"long type", with(func(e *core.NewEvent) { e.Type = strings.Repeat("t", core.MaxEventTypeBytes+1) }), core.CodeInvalidEventType, 1},
		{"tab in a type", with(func(e *core.NewEvent) { e.Type = "\t" }), core.CodeInvalidEventType, 1},
		{"format", with(func(e *core.NewEvent) { e.Format = 2 }), core.CodeInvalidData, 1},
		{"no JSON", with(func(e *core.NewEvent) { e.Data = nil }), core.CodeInvalidData, 1},
		{"no bytes", with(bytes(0)), "", none},
		{"long content type", with(func(e *core.NewEvent) { e.ContentType = strings.Repeat("c", core.MaxContentTypeBytes+1) }), core.CodeInvalidContentType, 1},
		{"control character in a content type", with(func(e *core.NewEvent) { e.ContentType = "a/b\r\n" }), core.CodeInvalidContentType, 1},
		{"first time", with(func(e *core.NewEvent) { e.Time = time.Unix(0, math.MinInt64) }), "", none},
		{"last time", with(func(e *core.NewEvent) { e.Time = time.Unix(0, math.MaxInt64) }), "", none},
		{"early time", with(func(e *core.NewEvent) { e.Time = time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC) }), core.CodeInvalidEventTime, 1},
		{"late time", with(func(e *core.NewEvent) { e.Time = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }), core.CodeInvalidEventTime, 1},
		{"largest event", with(bytes(core.MaxEventBytes)), "", none},
		{"large event", with(bytes(core.MaxEventBytes + 1)), core.CodeEventTooLarge, 1},
		{"large metadata", with(func(e *core.NewEvent) { e.Metadata = make([]byte, core.MaxEventBytes) }), core.CodeEventTooLarge, 1},
		{"most events", many(core.MaxCommitEvents, event), "", none},
		{"many events", many(core.MaxCommitEvents+1, event), core.CodeCommitTooLarge, none},
		{"most bytes", many(4, withData(event, core.MaxCommitBytes/4)), "", none},
		{"many bytes", many(5, withData(event, core.MaxCommitBytes/4)), core.CodeCommitTooLarge, none},

		{"no table", record(core.RecordOp{Key: "k"}), core.CodeInvalidRequest, 0},
		{"no key", record(core.RecordOp{Table: "t"}), core.CodeInvalidRequest, 0},
		{"control character in a table", record(core.RecordOp{Table: "t\x00", Key: "k"}), core.CodeInvalidRequest, 0},
		{"control character in a key", record(core.RecordOp{Table: "t", Key: "k\x00"}), "", none},
		{"broken UTF-8 in a key", record(core.RecordOp{Table: "t", Key: "\xff"}), core.CodeInvalidRequest, 0},
		{"long key", record(core.RecordOp{Table: "t", Key: strings.Repeat("k", core.MaxRecordKeyBytes)}), core.CodeInvalidRequest, 0},
		{"record expectation", record(core.RecordOp{Table: "t", Key: "k", Expect: -4}), core.CodeInvalidExpectedVersion, 0},
		{"large record", record(core.RecordOp{Table: "t", Key: "k", Value: make([]byte, core.MaxRecordValueBytes+1)}), core.CodeCommitTooLarge, 0},
	}
	for _, c := range cases {
		err := c.c.Validate()
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v, want it valid", c.name, err)
			}
			continue
		}
		var e *core.Error
		if !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
			continue
		}
		if c.element == none && e.Element != nil || c.element != none && (e.Element == nil || *e.Element != c.element) {
			t.Errorf("%s: %v at element %v, want %d", c.name, e, e.Element, c.element)
		}
		if strings.HasSuffix(string(c.code), "_too_large") && e.Limit == 0 {
			t.Errorf("%s: %v does not carry the limit", c.name, e)
		}
		if len(e.Detail) > 300 {
			t.Errorf("%s: the detail has %d bytes", c.name, len(e.Detail))
		}
	}
}

func many(n int, e core.NewEvent) core.Commit {
	events := make([]core.NewEvent, n)
	for i := range events {
		events[i] = e
	}
	return core.Commit{Appends: []core.Append{{Stream: "a", Events: events}}}
}

func withData(e core.NewEvent, n int) core.NewEvent {
	e.Format, e.Data = core.Bytes, make([]byte, n)
	return e
}

func TestExpect(t *testing.T) {
	cases := []struct {
		x     core.Expect
		text  string
		holds [3]bool // at versions 0, 1 and 2
	}{
		{core.AnyVersion, "any", [3]bool{true, true, true}},
		{core.NoStream, "no_stream", [3]bool{true, false, false}},
		{core.StreamExists, "stream_exists", [3]bool{false, true, true}},
		{0, "0", [3]bool{true, false, false}},
		{1, "1", [3]bool{false, true, false}},
		{core.MaxNumber, "9007199254740991", [3]bool{}},
		{-4, "-4", [3]bool{}},
	}
	for _, c := range cases {
		for version, want := range c.holds {
			if got := c.x.Holds(uint64(version)); got != want {
				t.Errorf("%s holds at %d: %v, want %v", c.x, version, got, want)
			}
		}
		if got := c.x.String(); got != c.text {
			t.Errorf("%d is %q, want %q", int64(c.x), got, c.text)
		}
		if got, err := core.ParseExpect(c.text); c.x >= core.StreamExists && (err != nil || got != c.x) {
			t.Errorf("parse %q: %v, %v, want %v", c.text, got, err, c.x)
		}
	}
	for _, text := range []string{"", "-1", "-4", "Any", "1.0", "1e3", " 1", "9007199254740992", "99999999999999999999"} {
		if x, err := core.ParseExpect(text); !errors.Is(err, core.CodeInvalidExpectedVersion) {
			t.Errorf("parse %q: %v, %v, want invalid_expected_version", text, x, err)
		}
	}
}
