package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// The golden files in testdata hold every frame and every message as this package
// writes it. Clients in other languages test against them, too.

var update = flag.Bool("update", false, "write testdata")

// frameVector is a golden frame: what it says, in the terms of JSON messages, and its
// bytes.
type frameVector struct {
	Name  string         `json:"name"`
	Hex   string         `json:"hex"`
	Means jsontext.Value `json:"means"`
	// compress is the codec of frames that are not written the same by everyone.
	compress string
}

// messageVector is a golden text message.
type messageVector struct {
	Name string `json:"name"`
	From string `json:"from"` // client or server
	Text string `json:"text"`
}

// object is what a vector means.
type object map[string]any

func frameVectors(t testing.TB) []frameVector {
	var out []frameVector
	add := func(name string, frame []byte, means object) {
		text, err := json.Marshal(means, json.Deterministic(true))
		if err != nil {
			t.Fatal(err)
		}
		compress, _ := means["compress"].(string)
		out = append(out, frameVector{name, hex.EncodeToString(frame), text, compress})
	}
	list := events(t)
	var block []byte
	var objects []jsontext.Value
	for i := range list {
		block = append(block, list[i].Raw...)
		objects = append(objects, wire.AppendEventJSON(nil, &list[i]))
	}
	add("events of sub 7", append(wire.AppendEventsHeader(nil, 7, false, len(list)), block...), object{"kind": 1, "sub": 7, "events": objects})
	add("events that answer read 300", append(wire.AppendEventsHeader(nil, 300, true, 1), list[0].Raw...), object{"kind": 1, "answer": 300, "events": objects[:1]})
	link := linkEvent(t)
	add("events with a link", append(append(wire.AppendEventsHeader(nil, 7, false, 2), list[3].Raw...), link.Raw...),
		object{"kind": 1, "sub": 7, "events": []jsontext.Value{objects[3], wire.AppendEventJSON(nil, &link)}})
	add("replays of parked events", append(wire.AppendDeliveriesHeader(nil, 7, []uint64{2, 3, 2, 2}, true), block...),
		object{"kind": 1, "sub": 7, "events": objects, "attempts": []int{2, 3, 2, 2}, "replay": true})
	add("deliveries, the second for the 300th time", append(wire.AppendDeliveriesHeader(nil, 7, []uint64{1, 300, 1, 2}, false), block...),
		object{"kind": 1, "sub": 7, "events": objects, "attempts": []int{1, 300, 1, 2}})
	attempts := []uint64{1, 2, 3, 300}
	for _, codec := range codecs {
		name, coded := map[wire.Codec]string{wire.Deflate: "compressed ", wire.Zstd: "zstd of "}[codec], stored(codec, block)
		add(name+"events", append(wire.AppendCodedHeader(nil, 7, false, len(list), &coded), coded.Block...),
			object{"kind": 1, "sub": 7, "events": objects, "compress": codec.String()})
		add(name+"deliveries", append(wire.AppendCodedDeliveriesHeader(nil, 7, attempts, false, &coded), coded.Block...),
			object{"kind": 1, "sub": 7, "events": objects, "attempts": attempts, "compress": codec.String()})
	}

	for _, v := range commitVectors() {
		means := meansOf(&v.frame)
		add(v.name, wire.AppendCommit(nil, &v.frame), means)
		if !v.compress {
			continue
		}
		for _, codec := range codecs {
			means["compress"] = codec.String()
			add(v.name+" compressed by "+codec.String(), storedCommit(codec, &v.frame), means)
		}
	}

	add("results", wire.AppendResults(nil, []wire.Result{{ID: 2, Version: 5, Position: 10}, {ID: 3, Version: 6, Position: 11}, {ID: 9, Version: 1, Position: 300}}),
		object{"kind": 3, "ranges": []object{{"id": 2, "n": 2, "version": 5, "position": 10}, {"id": 9, "n": 1, "version": 1, "position": 300}}})
	written := core.Result{Appends: []core.Appended{
		{FirstVersion: 1, LastVersion: 2, FirstPosition: 10, LastPosition: 11}, {FirstVersion: 300, LastVersion: 300, FirstPosition: 12, LastPosition: 12},
	}}
	add("committed", wire.AppendCommitted(nil, 300, &written), committedMeans(300, &written))
	written.Duplicate = true
	add("committed before", wire.AppendCommitted(nil, 4, &written), committedMeans(4, &written))
	written.Node = "ü2@host"
	add("committed by another node", wire.AppendCommitted(nil, 4, &written), committedMeans(4, &written))
	add("results of another node", wire.AppendResults(nil, []wire.Result{{ID: 2, Version: 5, Position: 10, Node: "n2"}, {ID: 3, Version: 6, Position: 11, Node: "n2"}}),
		object{"kind": 3, "node": "n2", "ranges": []object{{"id": 2, "n": 2, "version": 5, "position": 10}}})
	add("ack of two", wire.AppendAck(nil, &wire.Ack{ID: 300, Sub: 7, Positions: []uint64{1, 1 << 40}}),
		object{"kind": 4, "id": 300, "sub": 7, "positions": []int{1, 1 << 40}})
	add("ack up to one, with no answer", wire.AppendAck(nil, &wire.Ack{Sub: 7, UpTo: 300}), object{"kind": 4, "id": 0, "sub": 7, "upTo": 300})
	add("durable ack", wire.AppendAck(nil, &wire.Ack{ID: 9, Sub: 7, Positions: []uint64{5}, Durable: true}),
		object{"kind": 4, "id": 9, "sub": 7, "positions": []int{5}, "durable": true})
	add("ack by versions", wire.AppendAck(nil, &wire.Ack{ID: 9, Sub: 7, Versions: []uint64{1, 300}}),
		object{"kind": 4, "id": 9, "sub": 7, "versions": []int{1, 300}})
	add("ack up to a version", wire.AppendAck(nil, &wire.Ack{Sub: 7, UpToVersion: 300}),
		object{"kind": 4, "id": 0, "sub": 7, "upToVersion": 300})
	add("credit", wire.AppendCredit(nil, wire.Credit{Sub: 7, Events: 128, Bytes: 1 << 20}), object{"kind": 5, "sub": 7, "events": 128, "bytes": 1 << 20})
	return out
}

// commitVector is a Commit as a frame.
type commitVector struct {
	name     string
	frame    wire.CommitFrame
	compress bool // is to be compressed, too
}

func commitVectors() []commitVector {
	news, linked := newEvents(), core.ID{0: 1, 15: 2}
	var many []core.NewEvent
	for range 5 {
		many = append(many, news...)
	}
	commit := func(id uint64, appends ...core.Append) wire.CommitFrame {
		return wire.CommitFrame{ID: id, Commit: core.Commit{Appends: appends}}
	}
	var list []commitVector
	add := func(name string, f wire.CommitFrame, compress bool) {
		list = append(list, commitVector{name, f, compress})
	}
	for _, x := range []core.Expect{core.AnyVersion, core.NoStream, core.StreamExists} {
		add("append expecting "+x.String(), commit(2, core.Append{Stream: "order-42", Expect: x, Events: news}), false)
	}
	add("append expecting version 0", commit(2, core.Append{Stream: "order-42", Events: news[:1]}), false)
	late := commit(128, core.Append{Stream: "ü", Expect: 300, Events: news[:1]})
	late.Timeout = 1500 * time.Millisecond
	add("append expecting version 300, within 1.5 s", late, false)
	add("append expecting the largest version", commit(core.MaxNumber, core.Append{Stream: "s", Expect: core.MaxNumber, Events: news[:1]}), false)
	add("append of ten", commit(2, core.Append{Stream: "order-42", Expect: 3, Events: many}), true)

	a, b := core.Append{Stream: "a", Expect: core.AnyVersion, Events: news}, core.Append{Stream: "ü", Expect: 300, Events: news[:1]}
	links := core.Append{Stream: "paid", Expect: core.NoStream, Links: []core.ID{id, linked}}
	add("commit to two streams", commit(300, a, b), false)
	add("commit of links", commit(2, links), false)
	checked := commit(2, b)
	checked.Commit.Checks = []core.Check{{Stream: "c", Expect: 0}, {Stream: "d", Expect: core.StreamExists}}
	add("commit with checks", checked, false)
	moving := commit(2, a)
	moving.Commit.Progress = &core.Progress{Name: "ü", From: 300, To: core.MaxNumber, Log: "k3f9", ID: linked}
	add("commit with a progress", moving, false)
	moving = commit(2)
	moving.Commit.Progress = &core.Progress{Name: "billing", To: 1}
	add("commit of a progress alone", moving, false)
	changing := commit(2)
	changing.Commit.Streams = []core.StreamOp{{Stream: "ü", Expect: 300, Action: core.RemoveStream}}
	add("commit that removes a stream", changing, false)
	changing = commit(2, a)
	changing.Commit.Streams = []core.StreamOp{
		{Stream: "b", Expect: core.StreamExists}, {Stream: "c", Expect: 1, Action: core.UndeleteStream},
		{Stream: "d", Expect: core.AnyVersion, Action: core.TombstoneStream},
	}
	changing.Commit.Progress = &core.Progress{Name: "billing", To: 1}
	add("commit of an append, changes of streams and a progress", changing, false)
	all := commit(core.MaxNumber, core.Append{Stream: "order-42", Expect: core.StreamExists, Events: many}, links, a)
	all.Commit.Progress = &core.Progress{Name: "billing", From: 1, To: 300}
	all.Commit.Checks, all.Timeout = checked.Commit.Checks, 1500*time.Millisecond
	add("commit of all there is, within 1.5 s", all, true)
	return list
}

// meansOf is what an APPEND or a COMMIT frame says. The stream of an APPEND stands with
// its events; a COMMIT is said as a transaction is.
func meansOf(f *wire.CommitFrame) object {
	m, err := wire.NewAppendRequest(f.ID, &f.Commit)
	if err != nil {
		panic(err)
	}
	means := object{"kind": 2, "id": f.ID}
	if f.Timeout > 0 {
		means["timeoutMs"] = f.Timeout.Milliseconds()
	}
	if m.Tx == nil && m.Links == nil && m.Progress == nil && m.Streams == nil {
		means["stream"], means["expect"], means["events"] = m.Stream, m.Expect, m.Events
		return means
	}
	means["kind"], means["tx"], means["checks"] = 6, m.Tx, m.Checks
	if m.Progress != nil {
		means["progress"] = m.Progress
	}
	if m.Streams != nil {
		means["streams"] = m.Streams
	}
	if m.Tx == nil && m.Stream != nil {
		means["tx"] = []wire.Element{{Stream: *m.Stream, Expect: m.Expect, Events: m.Events, Links: m.Links}}
	}
	return means
}

// storedCommit is the compressed frame of f as another would write it: header, sizes and
// block.
func storedCommit(codec wire.Codec, f *wire.CommitFrame) []byte {
	frame := wire.AppendCommit(nil, f)
	header := 2 + len(binary.AppendUvarint(nil, f.ID))
	if f.Timeout > 0 {
		header += len(binary.AppendUvarint(nil, uint64(f.Timeout.Milliseconds())))
	}
	if a := f.Commit.Appends[0]; frame[0] == wire.FrameAppend {
		header += 1 + 1 + len(a.Stream) + 1
	}
	coded := stored(codec, frame[header:])
	out := append([]byte{frame[0], frame[1] | byte(codec)}, frame[2:header]...)
	out = binary.AppendUvarint(out, uint64(coded.Raw))
	out = binary.AppendUvarint(out, uint64(len(coded.Block)))
	return append(out, coded.Block...)
}

func committedMeans(id uint64, r *core.Result) object {
	appends := []wire.Appended{}
	for _, a := range r.Appends {
		appends = append(appends, wire.Appended{Version: a.LastVersion, Position: a.LastPosition, Count: a.Count()})
	}
	means := object{"kind": 7, "id": id, "duplicate": r.Duplicate, "appends": appends}
	if r.Node != "" {
		means["node"] = r.Node
	}
	return means
}

// newEvents are two events to append.
func newEvents() []core.NewEvent {
	return []core.NewEvent{
		{ID: id, Type: "OrderPaid", Data: []byte(`{"amount":1.10}`), Metadata: []byte(`{"a":1}`)},
		{Type: "B", Format: core.Bytes, ContentType: "image/png", Data: []byte{0, 0xff}, Time: time.UnixMicro(-1).UTC()},
	}
}

// stored is a block in a form of a codec that does not compress: the one that does not
// depend on the compressor. It takes from 256 bytes to 64 KiB.
func stored(codec wire.Codec, block []byte) wire.Coded {
	n := uint16(len(block))
	head := []byte{1, byte(n), byte(n >> 8), ^byte(n), ^byte(n >> 8)}
	if codec == wire.Zstd {
		magic, size, last := []byte{0x28, 0xb5, 0x2f, 0xfd}, n-256, uint32(n)<<3|1
		head = append(magic, 0x60, byte(size), byte(size>>8), byte(last), byte(last>>8), byte(last>>16))
	}
	return wire.Coded{Codec: codec, Raw: len(block), Block: append(head, block...)}
}

func messageVectors(t testing.TB) []messageVector {
	var out []messageVector
	add := func(name, from string, m wire.Message) {
		out = append(out, messageVector{name, from, string(wire.Encode(nil, m))})
	}
	for _, v := range clientVectors(t) {
		add(v.name, "client", v.m)
	}
	for _, v := range serverVectors(t) {
		add(v.name, "server", v.m)
	}
	return out
}

type named struct {
	name string
	m    wire.Message
}

func clientVectors(t testing.TB) []named {
	appendOf := func(id uint64, c core.Commit) wire.Message {
		m, err := wire.NewAppendRequest(id, &c)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	news, delay := newEvents(), int64(5000)
	news[1].ID = core.ID{0: 1, 15: 2}
	within := appendOf(3, core.Commit{Appends: []core.Append{{Stream: "order-42", Expect: 3, Events: news[:1]}}}).(*wire.AppendRequest)
	within.TimeoutMs = 1500
	from := func(f core.From) *wire.From { return (*wire.From)(&f) }
	at := time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)
	credit := &wire.Amount{Events: 256, Bytes: 1 << 20}
	return []named{
		{"hello", &wire.Hello{ID: 1, Client: &wire.Agent{Name: "gyre-js", Version: "1.0.0"}, Accept: &wire.Accept{Batch: true, Compress: []string{"deflate-raw"}, Owner: true}}},
		{"append", appendOf(2, core.Commit{Appends: []core.Append{{Stream: "order-42", Expect: core.NoStream, Events: news}}})},
		{"append within 1.5 s", within},
		{"transaction", appendOf(4, core.Commit{
			Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: news[:1]}, {Stream: "b", Expect: core.StreamExists, Events: news[1:]}},
			Checks:  []core.Check{{Stream: "c", Expect: 0}},
		})},
		{"append of links", appendOf(2, core.Commit{Appends: []core.Append{{Stream: "paid", Expect: 7, Links: []core.ID{id, news[1].ID}}}})},
		{"transaction with links", appendOf(4, core.Commit{Appends: []core.Append{
			{Stream: "a", Expect: core.AnyVersion, Events: news[:1]}, {Stream: "paid", Expect: core.AnyVersion, Links: []core.ID{id}}}})},
		{"append with a progress", appendOf(2, core.Commit{Appends: []core.Append{{Stream: "paid", Expect: 7, Events: news[:1]}},
			Progress: &core.Progress{Name: "billing", From: 10011, To: 10012, Log: "k3f9"}})},
		{"transaction with a progress", appendOf(4, core.Commit{
			Appends:  []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: news[:1]}, {Stream: "b", Expect: core.StreamExists, Events: news[1:]}},
			Progress: &core.Progress{Name: "billing", To: 10012}})},
		{"append of changes of streams", appendOf(2, core.Commit{Streams: []core.StreamOp{
			{Stream: "order-42", Expect: 3, Action: core.DeleteStream}, {Stream: "order-43", Expect: core.AnyVersion, Action: core.TombstoneStream}}})},
		{"append of a progress alone", appendOf(2, core.Commit{Progress: &core.Progress{Name: "billing", From: 1, To: 10012, ID: id}})},
		{"subscribe at a progress", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.From{Kind: core.AfterProgress, Progress: "billing"}), Credit: credit}},
		{"read", &wire.ReadRequest{ID: 5, Stream: "order-42", From: 3, Limit: 100}},
		{"read backward", &wire.ReadRequest{ID: 5, Stream: core.All, Dir: "backward", Bytes: 1000, TimeoutMs: 1500}},
		{"read of the system", &wire.ReadRequest{ID: 5, Stream: core.All, Limit: 100, System: true}},
		{"subscribe to the system", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.From{}), System: true, Credit: credit}},
		{"subscribe from the start", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.From{}), Credit: credit}},
		{"subscribe from the end", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.From{Kind: core.FromEnd}), Credit: credit}},
		{"subscribe after a cursor", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.Cursor{Log: "k3f9", Position: 10012}.From()),
			Filter: &wire.Filter{Streams: []string{"order-*"}, Types: []string{"Order*"}}, Credit: credit}},
		{"subscribe after a position", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.From{Kind: core.AfterPosition, N: 7}), Credit: credit}},
		{"subscribe after a version", &wire.Subscribe{ID: 6, Sub: 1, Stream: "s", From: from(core.From{Kind: core.AfterVersion, N: 7}), Credit: credit}},
		{"subscribe from a time", &wire.Subscribe{ID: 6, Sub: 1, Stream: core.All, From: from(core.From{Kind: core.FromTime, Time: at}), Credit: credit}},
		{"subscribe to a named subscription", &wire.Subscribe{ID: 6, Sub: 2, Subscription: "billing", Consumer: "w1", Ack: "explicit",
			Options: jsontext.Value(`{"stream":"$all","filter":{"types":["Order*"]},"bufferSize":8}`), Credit: credit}},
		{"subscribe to a transient subscription", &wire.Subscribe{ID: 6, Sub: 2, Subscription: "cache", Transient: true, Ack: "explicit", Credit: credit}},
		{"subscribe with a buffer of its own", &wire.Subscribe{ID: 6, Sub: 2, Subscription: "billing", Workers: 2, BufferSize: 8, Ack: "explicit", Credit: credit}},
		{"credit", &wire.Credit{Sub: 1, Events: 128, Bytes: 524288}},
		{"unsubscribe", &wire.Unsubscribe{ID: 7, Sub: 1}},
		{"ack of two", &wire.Ack{ID: 8, Sub: 2, Positions: []uint64{10020, 10021}}},
		{"ack up to one", &wire.Ack{ID: 8, Sub: 2, UpTo: 10021}},
		{"durable ack", &wire.Ack{ID: 8, Sub: 2, Positions: []uint64{10020}, Durable: true}},
		{"ack by versions", &wire.Ack{ID: 8, Sub: 2, Versions: []uint64{1, 300}}},
		{"ack up to a version", &wire.Ack{ID: 8, Sub: 2, UpToVersion: 300}},
		{"nack by versions", &wire.Nack{ID: 9, Sub: 2, Versions: []uint64{3}, Action: "park"}},
		{"extend by versions", &wire.Extend{ID: 10, Sub: 2, Versions: []uint64{3}, Ms: 30000}},
		{"nack to retry later", &wire.Nack{ID: 9, Sub: 2, Positions: []uint64{10022}, Action: "retry", DelayMs: &delay, Reason: "db down"}},
		{"nack to retry at once", &wire.Nack{ID: 9, Sub: 2, Positions: []uint64{10022}, Action: "retry", DelayMs: new(int64)}},
		{"nack to park", &wire.Nack{ID: 9, Sub: 2, Positions: []uint64{10022}, Action: "park"}},
		{"extend", &wire.Extend{ID: 10, Sub: 2, Positions: []uint64{10023}, Ms: 30000}},
		{"cancel", &wire.Cancel{ID: 11}},
		{"hello with a token", &wire.Hello{ID: 1, Client: &wire.Agent{Name: "gyre-js", Version: "1.0.0"}, Auth: &wire.Auth{Token: "gyre_k1_secret"}, Accept: &wire.Accept{Batch: true, Owner: true}}},
		{"refresh", &wire.Refresh{ID: 12, Token: "gyre_k2_secret"}},
		{"ping", &wire.Ping{N: 17}},
		{"pong", &wire.Pong{N: 17}},
	}
}

func serverVectors(t testing.TB) []named {
	var objects, sent []jsontext.Value
	for _, e := range events(t) {
		objects = append(objects, wire.AppendEventJSON(nil, &e))
	}
	for _, o := range objects {
		sent = append(sent, append(o[:len(o)-1:len(o)-1], `,"attempt":2}`...))
	}
	link := linkEvent(t)
	refused := core.NewWrongVersion("order-42", 3, 5)
	element := 1
	refused.Element = &element
	known := core.NewDuplicateEvent("order-42", id)
	known.Known = []int{0, 2}
	large := core.Errorf(core.CodeFrameTooLarge, "too large")
	large.Limit = 5242880
	changed := core.Errorf(core.CodeLogChanged, "the cursor is of log %q", "k3f9")
	at := time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)
	failure := func(id uint64, err error) wire.Message { return &wire.Failure{ID: id, Error: wire.NewError(err)} }
	return []named{
		{"welcome", &wire.Welcome{ID: 1, Server: wire.Server{Version: "1.0.0", Node: "n1"}, Session: id.String(), Log: "k3f9",
			Limits: wire.Limits{Frame: 5242880, Subs: 128, Inflight: 256, CreditEvents: 4096, CreditBytes: 8388608},
			Ping:   wire.PingPlan{IntervalMs: 25000, TimeoutMs: 10000}, Batch: true, Compress: "deflate-raw", Features: []string{"follow", "tx"}, Nodes: []string{"10.0.0.2:4973"}, Time: wire.Time(at)}},
		{"ok of an append", &wire.OK{ID: 2, Version: 4, Position: 10012, Count: 1}},
		{"ok of a duplicate", &wire.OK{ID: 2, Version: 4, Position: 10012, Count: 1, Duplicate: true}},
		{"ok of another node", &wire.OK{ID: 2, Version: 4, Position: 10012, Count: 1, Node: "n2"}},
		{"ok of a transaction", &wire.OK{ID: 4, Position: 12, Count: 3, Appends: []wire.Appended{{Version: 2, Position: 11, Count: 2}, {Version: 1, Position: 12, Count: 1}}}},
		{"ok of a read", &wire.OK{ID: 5, PageFields: wire.PageFields{Events: objects, Next: 5, End: true}, Version: 4, Head: 104}},
		{"ok of a subscribe", &wire.OK{ID: 6, Sub: 1, Cursor: "k3f9.10012", Head: 20500}},
		{"ok of an ack", &wire.OK{ID: 8}},
		{"error of a wrong version", failure(2, refused)},
		{"error of a duplicate", failure(2, known)},
		{"error of a limit", failure(2, large)},
		{"error about no request", failure(0, core.Errorf(core.CodeInvalidRequest, "what?"))},
		{"events", &wire.Events{Sub: 1, Events: objects, Cursor: "k3f9.105"}},
		{"events with a link", &wire.Events{Sub: 1, Events: []jsontext.Value{wire.AppendEventJSON(nil, &link)}, Cursor: "k3f9.105"}},
		{"deliveries", &wire.Events{Sub: 2, Events: sent, Cursor: "k3f9.104"}},
		{"status live", &wire.Status{Sub: 1, State: wire.StateLive, Cursor: "k3f9.20500", Head: 20500}},
		{"status catchup", &wire.Status{Sub: 1, State: wire.StateCatchup, Cursor: "k3f9.20500", Head: 21400, Lag: 900, Reason: "slow"}},
		{"status no_quorum", &wire.Status{Sub: 1, State: wire.StateNoQuorum, Cursor: "k3f9.20500", Head: 21400, Lag: 900, Reason: "1 of 3 members is alive, quorum is 2"}},
		{"status checkpoint", &wire.Status{Sub: 1, State: wire.StateCheckpoint, Cursor: "k3f9.31000", Head: 31000}},
		{"end", &wire.End{Sub: 1, Error: wire.NewError(changed), Cursor: "k3f9.31000"}},
		{"goaway", &wire.Goaway{Reason: "shutdown", ReconnectInMs: 1500, Nodes: []string{"10.0.0.2:4973"}}},
		{"ping", &wire.Ping{N: 17}},
		{"pong", &wire.Pong{N: 17}},
	}
}

// TestFramesAreAsWritten and TestMessagesAreAsWritten compare the encoders with the
// golden files.
func TestFramesAreAsWritten(t *testing.T) {
	golden(t, "testdata/frames.json", frameVectors(t))
}

// decoders decode the messages of each side.
var decoders = map[string]func(text []byte) (wire.Message, error){
	"client": func(text []byte) (wire.Message, error) {
		_, m, err := wire.DecodeClient(text)
		return m, err
	},
	"server": wire.DecodeServer,
}

func TestMessagesAreAsWritten(t *testing.T) {
	vectors := messageVectors(t)
	golden(t, "testdata/messages.json", vectors)
	seen := map[string]map[string]bool{"client": {}, "server": {}}
	for _, v := range vectors {
		m, err := decoders[v.From]([]byte(v.Text))
		if err != nil || m == nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		var head struct {
			Op string `json:"op"`
		}
		if err := json.Unmarshal([]byte(v.Text), &head); err != nil {
			t.Fatal(err)
		}
		seen[v.From][head.Op] = true
		if again := string(wire.Encode(nil, m)); again != v.Text {
			t.Errorf("%s, decoded and encoded again:\n%s\n%s", v.Name, again, v.Text)
		}
	}
	// asyncapi.json has every op there is, by another test.
	for operation, ops := range map[string]map[string]bool{"fromClient": seen["client"], "fromServer": seen["server"]} {
		for _, op := range documentedOps(t, operation) {
			if !ops[op] {
				t.Errorf("%s of %s has no vector; there are %v", op, operation, slices.Sorted(maps.Keys(ops)))
			}
		}
	}
}

// documentedOps are the ops of one side in asyncapi.json.
func documentedOps(t *testing.T, operation string) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Operations map[string]struct {
			Messages []struct {
				Ref string `json:"$ref"`
			} `json:"messages"`
		} `json:"operations"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, m := range doc.Operations[operation].Messages {
		ops = append(ops, m.Ref[len("#/channels/ws/messages/"):])
	}
	return ops
}

// golden compares vectors with a file, or writes it.
func golden(t *testing.T, file string, vectors any) {
	t.Helper()
	got, err := json.Marshal(vectors, jsontext.WithIndent(" "), jsontext.PreserveRawStrings(true))
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("what is written is not what %s has; the wire format is fixed, so this is a mistake", file)
	}
}
