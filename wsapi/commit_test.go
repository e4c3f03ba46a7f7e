package wsapi_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// reply is the answer to an append, in whatever form it came.
type reply struct {
	id        uint64
	err       map[string]any
	duplicate bool
	position  uint64
	appends   []wire.Appended
}

// replies are the next count answers to appends; others may be joined with them.
func (p *peer) replies(count int) []reply {
	p.t.Helper()
	var list []reply
	for len(list) < count {
		kind, message, err := p.ReadMessage()
		if err != nil {
			p.t.Fatal(err)
		}
		if kind == websocket.BinaryMessage {
			list = append(list, p.repliesOf(message)...)
			continue
		}
		m, err := wire.DecodeServer(message)
		if err != nil {
			p.t.Fatal(err)
		}
		switch m := m.(type) {
		case *wire.OK:
			if len(m.Appends) == 0 && m.Count > 0 {
				m.Appends = []wire.Appended{{Version: m.Version, Position: m.Position, Count: m.Count}}
			}
			list = append(list, reply{id: m.ID, duplicate: m.Duplicate, position: m.Position, appends: m.Appends})
		case *wire.Failure:
			var failure struct{ Error map[string]any }
			if err := json.Unmarshal(message, &failure); err != nil {
				p.t.Fatal(err)
			}
			list = append(list, reply{id: m.ID, err: failure.Error})
		}
	}
	return list
}

func (p *peer) repliesOf(message []byte) (list []reply) {
	p.t.Helper()
	frames := wire.NewFrames(message, wire.Uncompressed, 0)
	for {
		switch kind, more := frames.Kind(); {
		case !more:
			return list
		case kind == wire.FrameResults:
			results, err := frames.Results(nil, 1000)
			if err != nil {
				p.t.Fatal(err)
			}
			for _, r := range results {
				list = append(list, reply{id: r.ID, position: r.Position, appends: []wire.Appended{{Version: r.Version, Position: r.Position, Count: 1}}})
			}
		case kind == wire.FrameCommitted:
			id, r, err := frames.Committed()
			if err != nil {
				p.t.Fatal(err)
			}
			one := reply{id: id, duplicate: r.Duplicate, position: r.Position}
			for _, a := range r.Appends {
				one.appends = append(one.appends, wire.Appended{Version: a.LastVersion, Position: a.LastPosition, Count: a.Count()})
			}
			list = append(list, one)
		default:
			p.t.Fatalf("a frame of kind %d", kind)
		}
	}
}

// commits are Commits of every kind, most of them to be refused: with what code, and for
// which element. They are sent one after the other.
func commits() []struct {
	name    string
	code    string
	element int
	commit  core.Commit
} {
	ids := make([]core.ID, 9)
	for i := range ids {
		ids[i] = core.ID{0: 1, 15: byte(i)}
	}
	event := func(i int) core.NewEvent { return core.NewEvent{ID: ids[i], Type: "A", Data: []byte("1")} }
	to := func(stream string, x core.Expect, events ...core.NewEvent) core.Append {
		return core.Append{Stream: stream, Expect: x, Events: events}
	}
	a, b := to("a", core.NoStream, event(1), event(2)), to("b", core.AnyVersion, event(3))
	fresh := core.NewEvent{Type: "A", Data: []byte("1")}
	first := to("x", core.AnyVersion, fresh)
	many := make([]core.NewEvent, core.MaxCommitEvents)
	for i := range many {
		many[i] = fresh
	}
	large := core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", core.MaxEventBytes) + `"`)}
	half := core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", core.MaxEventBytes/2) + `"`)}
	type row = struct {
		name    string
		code    string
		element int
		commit  core.Commit
	}
	refused := func(name, code string, element int, checks []core.Check, appends ...core.Append) row {
		return row{name, code, element, core.Commit{Appends: appends, Checks: checks}}
	}
	moving := func(name, code string, p core.Progress, appends ...core.Append) row {
		return row{name, code, -1, core.Commit{Appends: appends, Progress: &p}}
	}
	written := func(name string, appends ...core.Append) row { return refused(name, "", 0, nil, appends...) }
	return []row{
		moving("a progress ahead of the log", "invalid_progress", core.Progress{Name: "p", To: 1}),
		written("two streams", a, b),
		written("the same again", a, b),
		written("one append of two", to("c", 0, event(4), event(5))),
		written("that again", to("c", 0, event(4), event(5))),
		written("one event", to("c", 2, event(6))),
		written("a link", core.Append{Stream: "l", Expect: core.AnyVersion, Links: ids[1:2]}),
		written("links, one to what it writes", to("d", core.AnyVersion, event(7)), core.Append{Stream: "l", Expect: 1, Links: []core.ID{ids[7], ids[3]}}),
		refused("with a check", "", 0, []core.Check{{Stream: "a", Expect: 2}, {Stream: "none", Expect: core.NoStream}}, first),
		refused("known ids in another order", "duplicate_event", 0, nil, b, a),
		refused("a known id among others", "duplicate_event", 1, nil, first, to("y", core.AnyVersion, event(1))),
		refused("a wrong version", "wrong_expected_version", 1, nil, first, to("a", 7, fresh)),
		refused("a wrong check", "wrong_expected_version", 2, []core.Check{{Stream: "b", Expect: 1}, {Stream: "a", Expect: core.NoStream}}, first),
		refused("a link to nothing", "event_not_found", 1, nil, first, core.Append{Stream: "l", Expect: core.AnyVersion, Links: []core.ID{{1, 1}}}),
		refused("nothing", "empty_append", -1, nil),
		refused("checks only", "empty_append", -1, []core.Check{{Stream: "a", Expect: 2}}),
		refused("an append of nothing", "empty_append", 1, nil, first, to("y", core.AnyVersion)),
		refused("an append of events and links", "invalid_request", 1, nil, first, core.Append{Stream: "y", Expect: core.AnyVersion, Events: []core.NewEvent{fresh}, Links: ids[1:2]}),
		refused("no stream", "invalid_stream_name", 1, nil, first, to("", core.AnyVersion, fresh)),
		refused("a reserved stream", "reserved_stream_name", 1, nil, first, to("$all", core.AnyVersion, fresh)),
		refused("a check of a reserved stream", "reserved_stream_name", 1, []core.Check{{Stream: "$all"}}, first),
		refused("no type", "invalid_event_type", 1, nil, first, to("y", core.AnyVersion, fresh, core.NewEvent{Data: []byte("1")})),
		refused("a large event", "event_too_large", 1, nil, first, to("y", core.AnyVersion, fresh, large)),
		refused("large in sum", "commit_too_large", -1, nil, to("x", core.AnyVersion, half, half, half, half), to("y", core.AnyVersion, half, half, half, half, fresh)),
		refused("many events", "commit_too_large", -1, nil, first, to("y", core.AnyVersion, many...)),
		moving("a progress with events", "", core.Progress{Name: "p", To: 2}, to("p", core.AnyVersion, event(8))),
		moving("that progress again", "", core.Progress{Name: "p", To: 2}, to("p", core.AnyVersion, event(8))),
		moving("known events with another progress", "progress_conflict", core.Progress{Name: "p", From: 2, To: 3}, to("p", core.AnyVersion, event(8))),
		moving("a progress alone", "", core.Progress{Name: "p", From: 2, To: 3, ID: ids[1]}),
		moving("that again", "", core.Progress{Name: "p", From: 2, To: 3, ID: ids[1]}),
		moving("the same place with another id", "progress_conflict", core.Progress{Name: "p", From: 2, To: 3, ID: ids[2]}),
		moving("a progress of two streams", "", core.Progress{Name: "p", From: 3, To: 4}, first, to("y", core.AnyVersion, fresh)),
		moving("a progress from another place", "progress_conflict", core.Progress{Name: "p", From: 3, To: 5}, first),
		moving("a progress from none", "progress_conflict", core.Progress{Name: "p", To: 5}, first),
		moving("a progress backward", "invalid_progress", core.Progress{Name: "p", From: 4, To: 3}, first),
		moving("a progress without a name", "invalid_progress", core.Progress{From: 4, To: 5}, first),
		moving("a progress with a reserved name", "invalid_progress", core.Progress{Name: "$p", From: 4, To: 5}, first),
		refused("many checks", "commit_too_large", -1, make([]core.Check, core.MaxCommitChecks+1), first),
	}
}

// TestWSCommitFrames sends the same Commits in JSON and as frames to two nodes. They are
// answered the same, down to the last field of an error.
func TestWSCommitFrames(t *testing.T) {
	inText, inFrames := newNode(t, wsapi.Config{}), newNode(t, wsapi.Config{})
	p, q := inText.greeted(wire.JSON), inFrames.greeted(wire.Bin)
	for i, c := range commits() {
		id := uint64(2 + i)
		m, err := wire.NewAppendRequest(id, &c.commit)
		if err != nil {
			t.Fatal(err)
		}
		p.say(string(wire.Encode(nil, m)))
		q.send(wire.AppendCommit(nil, &wire.CommitFrame{ID: id, Commit: c.commit}))
		text, frame := p.replies(1)[0], q.replies(1)[0]
		if !reflect.DeepEqual(text, frame) || text.id != id {
			t.Errorf("%s: answered\n%+v in JSON,\n%+v to a frame", c.name, text, frame)
		}
		element, given := frame.err["element"].(float64)
		if code, _ := frame.err["code"].(string); code != c.code || code != "" && (given != (c.element >= 0) || given && int(element) != c.element) {
			t.Errorf("%s: %v, want %s of element %d", c.name, frame.err, c.code, c.element)
		}
	}
	inFrames.headIs(inText.store.State().Head)

	// What JSON cannot say is refused with the element, too.
	before := inFrames.store.State().Head
	good := core.Append{Stream: "x", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "A", Data: []byte("1")}}}
	for code, bad := range map[string]core.Append{
		"invalid_data":             {Stream: "y", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "A", Data: []byte("{")}}},
		"invalid_expected_version": {Stream: "y", Expect: -4, Events: good.Events},
		"invalid_event_id":         {Stream: "y", Expect: core.AnyVersion, Links: []core.ID{{}}},
	} {
		// A Commit behind it in the same message is not affected.
		message := wire.AppendCommit(nil, &wire.CommitFrame{ID: 2, Commit: core.Commit{Appends: []core.Append{good, bad}}})
		q.send(wire.AppendCommit(message, &wire.CommitFrame{ID: 0, Commit: core.Commit{Appends: []core.Append{good, good}}}))
		for _, want := range []struct {
			id      uint64
			code    string
			element any
		}{{2, code, 1.0}, {0, "invalid_request", nil}} {
			if got := q.replies(1)[0]; got.id != want.id || got.err["code"] != want.code || got.err["element"] != want.element {
				t.Errorf("answered %+v, want %+v", got, want)
			}
		}
	}
	inFrames.headIs(before)
}

// TestWSCommitsArePipelined sends Commits, each of which expects what the one before it
// makes, in few messages, compressed and not.
func TestWSCommitsArePipelined(t *testing.T) {
	for _, codec := range append(codecs, wire.Uncompressed) {
		n := newNode(t, wsapi.Config{})
		p := n.greeted(wire.Bin)
		if codec != wire.Uncompressed {
			p = n.compressed(codec)
		}
		compressor := wire.NewCompressor(1)
		const count = 200
		var message []byte
		for i := range count {
			event := core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", 600) + `"`)}
			f := wire.CommitFrame{ID: uint64(2 + i), Timeout: time.Minute, Commit: core.Commit{
				Appends: []core.Append{
					{Stream: "a", Expect: core.Expect(i), Events: []core.NewEvent{event}},
					{Stream: "b", Expect: core.Expect(2 * i), Events: []core.NewEvent{event, event}},
				},
				Checks: []core.Check{{Stream: "c", Expect: core.NoStream}},
			}}
			frame := wire.AppendCommit(nil, &f)
			if codec != wire.Uncompressed {
				coded, ok := compressor.Commit(codec, &f, frame)
				if !ok {
					t.Fatal("not compressed")
				}
				frame = coded
			}
			if message = append(message, frame...); len(message) > 100<<10 || i == count-1 {
				p.send(message)
				message = nil
			}
		}
		for _, r := range p.replies(count) {
			if i := r.id - 2; r.err != nil || r.appends[0].Version != i+1 || r.appends[1] != (wire.Appended{Version: 2*i + 2, Position: 3*i + 3, Count: 2}) {
				t.Fatalf("Commit %d: %+v", i, r)
			}
		}
		n.headIs(3 * count)
	}
}

// TestWSCommitFramesCutShort cuts a COMMIT at every byte: each ends its connection, and
// nothing is written.
func TestWSCommitFramesCutShort(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	event := core.NewEvent{Type: "A", Data: []byte("1")}
	frame := wire.AppendCommit(nil, &wire.CommitFrame{ID: 2, Timeout: time.Second, Commit: core.Commit{
		Appends: []core.Append{{Stream: "a", Events: []core.NewEvent{event}}, {Stream: "l", Links: []core.ID{{1}}}},
		Checks:  []core.Check{{Stream: "c"}},
	}})
	for cut := 1; cut < len(frame); cut++ {
		p := n.greeted(wire.Bin)
		p.send(frame[:cut])
		p.closed("a cut frame", 4502)
	}
	for bit := byte(0x10); bit != 0; bit <<= 1 {
		p := n.greeted(wire.Bin)
		p.send(append([]byte{frame[0], frame[1] | bit}, frame[2:]...))
		p.closed("an unknown flag", 4502)
	}
	p := n.greeted(wire.Bin)
	p.send(frame)
	if r := p.replies(1)[0]; r.err["code"] != "event_not_found" {
		t.Errorf("the frame itself: %+v", r)
	}
	n.headIs(0)
}
