package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

var id = core.ID{0x01, 0x93, 0xb6, 0xb0, 0x6f, 0x3e, 0x7c, 0xc1, 0x9d, 0x2b, 0x5c, 0x8f, 0x0a, 0x2e, 0x4d, 0x11}

// recorded makes an event as the log has it.
func recorded(t testing.TB, p core.Placement, n core.NewEvent) core.Event {
	t.Helper()
	var e core.Event
	if p.ID.IsZero() {
		p.ID = id
	}
	if _, err := core.DecodeEvent(core.EncodeEvent(nil, p, &n), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func events(t testing.TB) []core.Event {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)
	place := func(stream string, n uint64) core.Placement {
		return core.Placement{Stream: stream, Version: n, Position: n + 100, Recorded: at.UnixMicro(), Incarnation: 1}
	}
	return []core.Event{
		recorded(t, place("order-42", 1), core.NewEvent{Type: "OrderPaid", Data: []byte(`{"amount":1.10,"big":1E400}`), Metadata: []byte(`{"correlation_id":"c"}`)}),
		recorded(t, place(`a"b\c/ü`, 2), core.NewEvent{Type: "日本", Time: at.Add(-time.Hour), Data: []byte("null")}),
		recorded(t, place("b", 3), core.NewEvent{Type: "B", Format: core.Bytes, ContentType: "image/png", Data: []byte{0, 0xff}}),
		recorded(t, place("b", 4), core.NewEvent{Type: "B", Format: core.Bytes}),
	}
}

// linkEvent is an event that is read through a link.
func linkEvent(t testing.TB) core.Event {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)
	p := core.Placement{Stream: "paid", Version: 5, Position: 105, Recorded: at.UnixMicro(), Incarnation: 1, ID: id}
	e := core.NewEvent{Type: "OrderPaid", Time: at.Add(-time.Hour), Data: []byte(`{"amount":1.10}`)}
	var link core.Event
	if _, err := core.DecodeEvent(core.EncodeLinked(nil, p, core.Origin{Stream: "order-42", Version: 3, Position: 64}, &e), &link); err != nil {
		t.Fatal(err)
	}
	return link
}

func TestLinkObject(t *testing.T) {
	e := linkEvent(t)
	const want = `{"stream":"paid","version":5,"position":105,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"OrderPaid","time":"2026-11-23T09:00:00.123Z","recorded":"2026-11-23T10:00:00.123Z","data":{"amount":1.10},"metadata":{},"link":{"stream":"order-42","version":3,"position":64}}`
	got := wire.AppendEventJSON(nil, &e)
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if back, err := wire.DecodeEvent(got); err != nil || !bytes.Equal(back.Raw, e.Raw) || back.Link != e.Link {
		t.Errorf("%s came back as %+v, %v", got, back, err)
	}
	p := core.Placement{Stream: e.Stream, Version: e.Version, Position: e.Position, Recorded: e.Recorded.UnixMicro(), Incarnation: 1, ID: e.ID}
	var bare core.Event
	if _, err := core.DecodeEvent(core.EncodeLink(nil, p, e.Link, e.Type), &bare); err != nil {
		t.Fatal(err)
	}
	const wantBare = `{"stream":"paid","version":5,"position":105,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"OrderPaid","time":"2026-11-23T10:00:00.123Z","recorded":"2026-11-23T10:00:00.123Z","metadata":{},"link":{"stream":"order-42","version":3,"position":64}}`
	text := wire.AppendEventJSON(nil, &bare)
	if back, err := wire.DecodeEvent(text); err != nil || string(text) != wantBare || !bytes.Equal(back.Raw, bare.Raw) {
		t.Errorf("without what it names: %s came back as %+v, %v", text, back, err)
	}
	for _, bad := range []string{`"version":0`, `"version":9007199254740992`} {
		if _, err := wire.DecodeEvent(bytes.Replace(got, []byte(`"version":3`), []byte(bad), 1)); err == nil {
			t.Errorf("a link with %s is taken", bad)
		}
	}
}

// TestEmptyMetadataIsLeftOut: an event that was read has empty metadata where it has
// none, and may be appended again.
func TestEmptyMetadataIsLeftOut(t *testing.T) {
	n := core.NewEvent{ID: id, Type: "T", Data: []byte("1"), Metadata: []byte{}}
	m, err := wire.NewAppendRequest(1, &core.Commit{Appends: []core.Append{
		{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{n}}, {Stream: "b", Expect: core.AnyVersion, Links: []core.ID{id}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if text := wire.Encode(nil, m); !bytes.Contains(text, []byte(`"data":1}`)) || bytes.Contains(text, []byte("metadata")) {
		t.Errorf("%s", text)
	}
}

func TestEventObject(t *testing.T) {
	want := []string{
		`{"stream":"order-42","version":1,"position":101,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"OrderPaid","time":"2026-11-23T10:00:00.123Z","recorded":"2026-11-23T10:00:00.123Z","data":{"amount":1.10,"big":1E400},"metadata":{"correlation_id":"c"}}`,
		`{"stream":"a\"b\\c/ü","version":2,"position":102,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"日本","time":"2026-11-23T09:00:00.123Z","recorded":"2026-11-23T10:00:00.123Z","data":null,"metadata":{}}`,
		`{"stream":"b","version":3,"position":103,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"B","time":"2026-11-23T10:00:00.123Z","recorded":"2026-11-23T10:00:00.123Z","dataBase64":"AP8=","contentType":"image/png","metadata":{}}`,
		`{"stream":"b","version":4,"position":104,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"B","time":"2026-11-23T10:00:00.123Z","recorded":"2026-11-23T10:00:00.123Z","dataBase64":"","metadata":{}}`,
	}
	for i, e := range events(t) {
		got := wire.AppendEventJSON(nil, &e)
		if string(got) != want[i] {
			t.Errorf("got  %s\nwant %s", got, want[i])
		}
		back, err := wire.DecodeEvent(got)
		if err != nil || !bytes.Equal(back.Raw, e.Raw) {
			t.Errorf("%s came back as %+v, %v", got, back, err)
		}
	}
	multi := recorded(t, core.Placement{Stream: "s", Version: 1, Position: 1}, core.NewEvent{Type: "A", Data: []byte("{\r\n  \"a\": \"\\n\"\n}")})
	if got := wire.AppendEventJSON(nil, &multi); bytes.ContainsAny(got, "\r\n") || !bytes.Contains(got, []byte(`{  "a": "\n"}`)) {
		t.Errorf("an event on several lines: %s", got)
	}
}

func TestTimes(t *testing.T) {
	for nanos, want := range map[int64]string{0: "1970-01-01T00:00:00Z", 100_000_000: "1970-01-01T00:00:00.1Z", 123_456_789: "1970-01-01T00:00:00.123456Z"} {
		if got := wire.FormatTime(time.Unix(0, nanos)); got != want {
			t.Errorf("%d: %s, want %s", nanos, got, want)
		}
	}
}

// TestErrorsComeBack sends every code of the catalogue, with every field, through
// the wire.
func TestErrorsComeBack(t *testing.T) {
	x, actual, element, offset := core.NoStream, uint64(7), 3, int64(99)
	for _, code := range core.Codes() {
		sent := core.Errorf(code, "it happened to %d", 5)
		sent.Stream, sent.Expected, sent.Actual, sent.EventID = "s", &x, &actual, id
		sent.Element, sent.Limit, sent.Offset, sent.Positions, sent.Epoch = &element, 10, &offset, []uint64{7, 9}, 12
		text := wire.Encode(nil, &wire.Failure{ID: 1, Error: wire.NewError(sent)})
		m, err := wire.DecodeServer(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.(*wire.Failure).Error.Err(); !reflect.DeepEqual(got, sent) {
			t.Errorf("%s came back as %+v", text, got)
		}
		if info := code.Info(); !bytes.Contains(text, []byte(`"code":"`+string(code)+`"`)) || info.Fix == "" || info.Title == "" || info.Status == 0 {
			t.Errorf("%s", text)
		}
	}
	secret := wire.Encode(nil, &wire.Failure{Error: wire.NewError(errors.New("open /etc/secret: denied"))})
	if bytes.Contains(secret, []byte("secret")) || !bytes.Contains(secret, []byte(`"internal"`)) {
		t.Errorf("an error that is not ours: %s", secret)
	}
	if bad := wire.Encode(nil, &wire.Failure{Error: wire.NewError(core.Errorf(core.CodeInternal, "\xff"))}); !json.Valid(bad) {
		t.Errorf("an error with invalid text: %s", bad)
	}
}

func TestUnknownIsIgnoredFromTheServer(t *testing.T) {
	if m, err := wire.DecodeServer([]byte(`{"op":"later","x":1}`)); m != nil || err != nil {
		t.Errorf("an op from the future: %v, %v", m, err)
	}
	if m, err := wire.DecodeServer([]byte(`{"x":{"y":[]},"id":4,"op":"ok","z":2,"version":3}`)); err != nil || m.(*wire.OK).ID != 4 || m.(*wire.OK).Version != 3 {
		t.Errorf("fields from the future: %+v, %v", m, err)
	}
}

// TestFramesFollowEachOther decodes all golden frames from one message, and none
// of them cut short.
func TestFramesFollowEachOther(t *testing.T) {
	var message []byte
	const limit = 1 << 20
	for _, v := range frameVectors(t) {
		frame, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		if v.compress == "" {
			message = append(message, frame...)
		}
		for cut := 1; cut < len(frame); cut++ {
			f := wire.NewFrames(frame[:cut], wire.ChooseCodec(v.compress), limit)
			if err := takeFrame(&f, nil); err == nil {
				t.Errorf("%s, cut to %d of %d bytes, was taken", v.Name, cut, len(frame))
			}
		}
	}
	f := wire.NewFrames(message, wire.Uncompressed, 0)
	var again []byte
	for {
		if _, ok := f.Kind(); !ok {
			break
		}
		if err := takeFrame(&f, &again); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(again, message) {
		t.Errorf("frames that were decoded and encoded again are different:\n%x\n%x", again, message)
	}
}

// takeFrame decodes a frame and, if again is not nil, encodes it there.
func takeFrame(f *wire.Frames, again *[]byte) error {
	kind, _ := f.Kind()
	var out []byte
	switch kind {
	case wire.FrameEvents:
		e, err := f.Events()
		if err != nil {
			return err
		}
		if out = wire.AppendEventsHeader(nil, e.Sub, e.Answer, e.Batch.Count); e.Attempts != nil {
			out = wire.AppendDeliveriesHeader(nil, e.Sub, e.Attempts, e.Replay)
		}
		out = append(out, e.Batch.Block...)
	case wire.FrameAppend, wire.FrameCommit:
		var c wire.CommitFrame
		if err := f.Commit(&c); err != nil {
			return err
		}
		out = wire.AppendCommit(nil, &c)
	case wire.FrameCommitted:
		id, r, err := f.Committed()
		if err != nil {
			return err
		}
		out = wire.AppendCommitted(nil, id, &r)
	case wire.FrameResults:
		r, err := f.Results(nil, 1000)
		if err != nil {
			return err
		}
		out = wire.AppendResults(nil, r)
	case wire.FrameAck:
		a, err := f.Ack()
		if err != nil {
			return err
		}
		out = wire.AppendAck(nil, &a)
	case wire.FrameCredit:
		c, err := f.Credit()
		if err != nil {
			return err
		}
		out = wire.AppendCredit(nil, c)
	case wire.FrameForward:
		epoch, err := f.Forward()
		if err != nil {
			return err
		}
		var commit []byte
		if err := takeFrame(f, &commit); err != nil {
			return err
		}
		out = append(wire.AppendForward(nil, epoch), commit...)
	case wire.FrameHead:
		position, err := f.Head()
		if err != nil {
			return err
		}
		out = wire.AppendHead(nil, position)
	default:
		return f.Unknown()
	}
	if again != nil {
		*again = append(*again, out...)
	}
	return nil
}

func TestFramesAskForNoMemory(t *testing.T) {
	for name, frame := range map[string][]byte{
		"events":              {1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"append":              {2, 0, 1, 1, 1, 's', 0xff, 0xff, 0xff, 0xff, 0x0f},
		"results":             {3, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1},
		"attempts":            {1, 4, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"ack":                 {4, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"ack up to two":       {4, 8, 1, 1, 2, 3, 4},
		"ack up to nothing":   {4, 8, 1, 1, 1, 0},
		"stream":              {2, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"commit":              {6, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"commit of little":    {6, 0, 1, 2, 1, 1, 's', 0, 0},
		"commit to a stream":  {6, 0, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"commit of events":    {6, 0, 1, 1, 1, 1, 's', 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0},
		"commit of links":     {6, 0, 1, 1, 1, 1, 's', 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0},
		"commit with checks":  {6, 0, 1, 1, 1, 1, 's', 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"commit of a flag":    {6, 4, 1, 0, 0},
		"committed":           {7, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"committed nothing":   {7, 0, 1, 1, 0, 1, 1},
		"committed too many":  {7, 0, 1, 1, 3, 2, 9},
		"committed too early": {7, 0, 1, 1, 3, 9, 2},
		"committed by a flag": {7, 4, 1, 1, 1, 1, 1},
		"node":                {3, 16, 0xff, 0xff, 0xff, 0xff, 0x0f, 'n'},
		"node without a name": {7, 16, 1, 0, 1, 1, 1, 1},
		"node not of UTF-8":   {3, 16, 1, 0xff, 1, 2, 1, 1, 1},
	} {
		f := wire.NewFrames(frame, wire.Uncompressed, 0)
		var err error
		took := allocated(func() { err = takeFrame(&f, nil) })
		if !errors.Is(err, core.CodeProtocolError) || took > 64<<10 {
			t.Errorf("%s: %v, %d bytes were allocated", name, err, took)
		}
	}
}

// allocated is how many bytes work takes.
func allocated(work func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestCommitOfTooMuch takes frames with far more than a Commit may have. The least of it
// is kept, enough to be refused, and the frame behind it can be taken.
func TestCommitOfTooMuch(t *testing.T) {
	const many = 1 << 20
	one := append([]byte{1, 1, 's', 1}, core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte("1")})...)
	one = append(one, 0) // links
	for name, c := range map[string]struct {
		appends, append, checks int
		code                    core.Code
	}{
		"empty appends": {appends: many, code: core.CodeInvalidStreamName},
		"appends":       {appends: core.MaxCommitEvents + 2, append: 1, code: core.CodeCommitTooLarge},
		"checks":        {appends: 1, append: 1, checks: many, code: core.CodeCommitTooLarge},
		"no appends":    {checks: 1, code: core.CodeEmptyAppend},
	} {
		what := make([]byte, 4)
		if c.append > 0 {
			what = one
		}
		frame := binary.AppendUvarint([]byte{wire.FrameCommit, 0, 9}, uint64(c.appends))
		frame = append(frame, bytes.Repeat(what, c.appends)...)
		frame = binary.AppendUvarint(frame, uint64(c.checks))
		frame = append(frame, make([]byte, 2*c.checks)...)
		frames := wire.NewFrames(wire.AppendCredit(frame, wire.Credit{Sub: 7}), wire.Uncompressed, 0)
		var f wire.CommitFrame
		var err error
		took := allocated(func() { err = frames.Commit(&f) })
		if err != nil || took > 8<<20 {
			t.Errorf("%s: %v, %d bytes were allocated", name, err, took)
		}
		if err := f.Commit.Validate(); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
		if credit, err := frames.Credit(); err != nil || credit.Sub != 7 {
			t.Errorf("%s: the frame behind it: %+v, %v", name, credit, err)
		}
	}
}

// TestCommitNamesWhatIsRefused: an event that is refused is told with the append that it
// is of, where there can be several; what stands behind the frame is taken.
func TestCommitNamesWhatIsRefused(t *testing.T) {
	good := core.NewEvent{Type: "A", Data: []byte("1")}
	bad := core.NewEvent{Type: "A", Data: []byte("{")}
	appends := []core.Append{{Stream: "a", Events: []core.NewEvent{good}}, {Stream: "b", Events: []core.NewEvent{good, bad, bad}}, {Stream: "c", Events: []core.NewEvent{bad}}}
	one := 1
	for name, c := range map[string]struct {
		commit  core.Commit
		element *int
	}{
		"one append": {core.Commit{Appends: appends[1:2]}, nil},
		"several":    {core.Commit{Appends: appends}, &one},
	} {
		message := wire.AppendCommit(nil, &wire.CommitFrame{ID: 9, Commit: c.commit})
		frames := wire.NewFrames(wire.AppendCredit(message, wire.Credit{Sub: 7}), wire.Uncompressed, 0)
		var f wire.CommitFrame
		err := frames.Commit(&f)
		e := core.AsError(err)
		if f.ID != 9 || e.Code != core.CodeInvalidData || !strings.HasPrefix(e.Detail, "event 1: data is not valid JSON: ") || !reflect.DeepEqual(e.Element, c.element) {
			t.Errorf("%s: request %d, %+v", name, f.ID, e)
		}
		if credit, err := frames.Credit(); err != nil || credit.Sub != 7 {
			t.Errorf("%s: the frame behind it: %+v, %v", name, credit, err)
		}
	}
}

// TestCommitUsesRoomAgain takes frames one after another into the same.
func TestCommitUsesRoomAgain(t *testing.T) {
	var message []byte
	list := commitVectors()
	for i := range list {
		message = wire.AppendCommit(message, &list[i].frame)
	}
	frames := wire.NewFrames(message, wire.Uncompressed, 0)
	var f wire.CommitFrame
	for i := range list {
		if err := frames.Commit(&f); err != nil || !bytes.Equal(wire.AppendCommit(nil, &f), wire.AppendCommit(nil, &list[i].frame)) {
			t.Errorf("%s: %+v, %v", list[i].name, f, err)
		}
	}
}

func FuzzBinaryFrame(f *testing.F) {
	for _, v := range frameVectors(f) {
		frame, err := hex.DecodeString(v.Hex)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, byte(wire.ChooseCodec(v.compress)), 1<<20)
	}
	for _, frame := range peerFrames() {
		f.Add(frame, byte(4), 1<<20)
	}
	block := records(2)
	for _, codec := range codecs {
		f.Add(codedAppend(codec, 9, 2, coded(f, codec, block), len(block)), byte(codec), 1<<20)
	}
	f.Fuzz(func(t *testing.T, message []byte, agreed byte, limit int) {
		frames := wire.NewFrames(message, wire.Codec(agreed&3), max(0, limit%(1<<20)))
		frames.Checked = agreed&4 != 0
		for {
			kind, ok := frames.Kind()
			if !ok {
				return
			}
			var again, third []byte
			err := takeFrame(&frames, &again)
			if err == nil { // what it says is said the same again
				back := wire.NewFrames(again, wire.Uncompressed, 0)
				back.Checked = frames.Checked
				if err := takeFrame(&back, &third); err != nil || !bytes.Equal(again, third) {
					t.Fatalf("%v\n%x\n%x", err, again, third)
				}
			}
			switch {
			case (kind == wire.FrameAppend || kind == wire.FrameCommit) && err != nil && !errors.Is(err, core.CodeProtocolError):
				continue // the frame is whole, the append is refused
			case err != nil:
				var e *core.Error
				if !errors.As(err, &e) || !e.Code.Known() {
					t.Fatalf("%v", err)
				}
				return
			}
		}
	})
}

func FuzzEventJSON(f *testing.F) {
	for _, e := range events(f) {
		f.Add(wire.AppendEventJSON(nil, &e))
	}
	f.Add([]byte(`{"stream":"s","version":1,"position":1,"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"","recorded":"0000-01-01T00:00:00Z","data":"\u2028"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := wire.DecodeEvent(text)
		if err != nil {
			var typed *core.Error
			if !errors.As(err, &typed) || !typed.Code.Known() {
				t.Fatal(err)
			}
			return
		}
		again := wire.AppendEventJSON(nil, &e)
		if bytes.ContainsAny(again, "\r\n") {
			t.Fatalf("%q", again)
		}
		back, err := wire.DecodeEvent(again)
		if err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		if third := wire.AppendEventJSON(nil, &back); !bytes.Equal(third, again) {
			t.Fatalf("%s\n%s", again, third)
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, text := range []string{
		`{"op":"hello","id":1,"client":{"name":"x"},"accept":{"batch":true}}`,
		`{"op":"append","id":2,"stream":"s","expect":"any","events":[{"type":"A","data":1,"metadata":{"correlation_id":"x"}}]}`,
		`{"op":"append","id":2,"tx":[{"stream":"s","expect":5,"events":[{"type":"A","dataBase64":"AA=="}]}],"checks":[{"stream":"t","expect":0}]}`,
		`{"op":"read","id":3,"stream":"$all","from":7,"dir":"backward","limit":10}`,
		`{"op":"subscribe","id":6,"sub":2,"subscription":"billing","consumer":"w1","ack":"explicit","options":{"stream":"s","bufferSize":8}}`,
		`{"op":"ack","id":7,"sub":2,"positions":[1,2]}`,
		`{"op":"nack","sub":2,"positions":[1],"action":"retry","delayMs":0,"reason":"x"}`,
		`{"op":"extend","id":7,"sub":2,"positions":[1],"ms":30000}`,
		`{"op":"subscribe","id":4,"sub":1,"stream":"s","from":{"cursor":"k3f9.10"},"filter":{"types":["A*"]},"credit":{"events":1,"bytes":2}}`,
		`{"op":"subscribe","id":4,"sub":1,"stream":"s","from":{"time":"2026-11-23T10:00:00Z"}}`,
		`{"op":"error","id":1,"error":{"code":"wrong_expected_version","expected":"any","actual":7,"retryable":false}}`,
		`{"op":"events","sub":1,"events":[{}],"cursor":"a.1"}`,
		"{\"op\":\"ping\",\n\"n\":1}\n{\"op\":\"pong\"}",
		`{"op":"subscribe","id":2,"sub":1,"strem":{"a":[1]},"":null}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		for text := range wire.Texts(message) {
			for _, decode := range decoders {
				m, err := decode(text)
				var e *core.Error
				if err != nil && (!errors.As(err, &e) || !e.Code.Known()) {
					t.Fatalf("%s: %v", text, err)
				}
				if err != nil && strings.Contains(err.Error(), "wire.") {
					t.Fatalf("%s: the error names a Go type: %v", text, err)
				}
				if a, ok := m.(*wire.AppendRequest); ok && err == nil {
					if commit, err := a.Commit(); err == nil {
						if _, err := wire.NewAppendRequest(1, &commit); err != nil {
							t.Fatalf("%s: %v", text, err)
						}
					}
				}
				if m != nil && err == nil && decodeIsClient(m) {
					wire.Encode(nil, m)
				}
			}
		}
	})
}

// decodeIsClient tells the messages that this side encodes itself.
func decodeIsClient(m wire.Message) bool {
	switch m.(type) {
	case *wire.AppendRequest, *wire.Events, *wire.OK, *wire.Other:
		return false
	}
	return true
}

// TestCheckEventTellsTooDeep: a decoder gives up on what is nested very deeply, and the error
// is that of what is nested a little too deeply.
func TestCheckEventTellsTooDeep(t *testing.T) {
	list := []byte(strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))
	object := append(append([]byte(`{"a":`), list...), '}')
	for name, c := range map[string]struct {
		event core.NewEvent
		code  core.Code
	}{
		"data":                 {core.NewEvent{Type: "A", Data: list}, core.CodeDataTooComplex},
		"metadata":             {core.NewEvent{Type: "A", Data: []byte("1"), Metadata: object}, core.CodeDataTooComplex},
		"two values":           {core.NewEvent{Type: "A", Data: []byte("1 2")}, core.CodeInvalidData},
		"metadata is cut":      {core.NewEvent{Type: "A", Data: []byte("1"), Metadata: object[:7]}, core.CodeInvalidMetadata},
		"metadata is a number": {core.NewEvent{Type: "A", Data: []byte("1"), Metadata: []byte("1")}, core.CodeInvalidMetadata},
	} {
		if err := wire.CheckEvent(&c.event); !errors.Is(err, c.code) {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}
