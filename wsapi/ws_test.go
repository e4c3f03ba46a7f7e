package wsapi_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// peer is a client that says exactly what it is told to.
type peer struct {
	t testing.TB
	*websocket.Conn
}

func (n *node) connect(protocols ...string) *peer {
	n.t.Helper()
	return n.connectTo("/v1/ws", protocols...)
}

func (n *node) connectTo(path string, protocols ...string) *peer {
	n.t.Helper()
	d := websocket.Dialer{Subprotocols: protocols}
	c, res, err := d.Dial("ws"+strings.TrimPrefix(n.http.URL, "http")+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if len(protocols) > 0 && c.Subprotocol() == "" {
		n.t.Errorf("no subprotocol was chosen: %v", res.Header)
	}
	n.t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	return &peer{n.t, c}
}

// greeted is a peer after its hello.
func (n *node) greeted(protocols ...string) *peer {
	n.t.Helper()
	p := n.connect(protocols...)
	p.say(`{"op":"hello","id":1}`)
	if w := p.receive(); w["op"] != "welcome" || w["id"] != 1.0 || w["log"] != n.store.State().Log {
		n.t.Fatalf("hello was answered %v", w)
	}
	return p
}

func (p *peer) say(text string) {
	p.t.Helper()
	if err := p.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) send(frame []byte) {
	p.t.Helper()
	if err := p.WriteMessage(websocket.BinaryMessage, frame); err != nil {
		p.t.Fatal(err)
	}
}

// receive returns the next text message that is not a ping.
func (p *peer) receive() map[string]any {
	p.t.Helper()
	for {
		kind, text, err := p.ReadMessage()
		if err != nil {
			p.t.Fatal(err)
		}
		if kind != websocket.TextMessage {
			p.t.Fatalf("a binary message: %x", text)
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			p.t.Fatalf("%s: %v", text, err)
		}
		if m["op"] != "ping" {
			return m
		}
	}
}

// refused checks that the next message is an error.
func (p *peer) refused(what string, id float64, code string) {
	p.t.Helper()
	m := p.receive()
	e, _ := m["error"].(map[string]any)
	gotID, _ := m["id"].(float64)
	if m["op"] != "error" || !isCode(e["code"], code) || gotID != id {
		p.t.Errorf("%.200s: answered %v, want %s for %v", what, m, code, id)
	}
}

// closed checks that the connection ends with the code, whatever is said before.
func (p *peer) closed(what string, code int) {
	p.t.Helper()
	for {
		_, text, err := p.ReadMessage()
		if err == nil {
			if !bytes.Contains(text, []byte(`"op":"error"`)) && !bytes.Contains(text, []byte(`"op":"ping"`)) &&
				!bytes.Contains(text, []byte(`"op":"goaway"`)) {
				p.t.Errorf("%s: %s before the end", what, text)
			}
			continue
		}
		var c *websocket.CloseError
		if !errors.As(err, &c) || c.Code != code {
			p.t.Errorf("%s: ended with %v, want %d", what, err, code)
		}
		return
	}
}

func TestWSNamesTheNode(t *testing.T) {
	p := newNode(t, wsapi.Config{Node: "node-7", Version: "1.2"}).connect()
	p.say(`{"op":"hello","id":1}`)
	if s, _ := p.receive()["server"].(map[string]any); s["node"] != "node-7" || s["version"] != "1.2" {
		t.Errorf("welcome names %v", s)
	}
}

// TestWSWarnsOfUnknownFields: a field that is ignored is named in the answer, whatever the
// request and its answer.
func TestWSWarnsOfUnknownFields(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	for _, protocol := range []string{wire.JSON, wire.Bin} {
		p := n.connect(protocol)
		for _, c := range []struct{ text, op, field string }{
			{`{"op":"hello","id":1,"clint":{"name":"x"}}`, "welcome", "/clint"},
			{`{"op":"append","id":2,"expected":0,"stream":"s","events":[{"type":"A","data":1}]}`, "ok", "/expected"},
			{`{"op":"append","id":3,"stream":"s","events":[{"type":"A","data":1,"meta":{}}]}`, "ok", "/events/0/meta"},
			{`{"op":"read","id":4,"stream":"s","limit":1}`, "ok", ""},
			{`{"op":"append","id":5,"stream":"s","expect":99,"x":1,"events":[{"type":"A","data":1}]}`, "error", "/x"},
			{`{"op":"append","id":6,"stream":"s","x":1}`, "error", "/x"},
			{`{"op":"read","id":7,"stream":"none","form":1}`, "error", "/form"},
			{`{"op":"subscribe","id":8,"sub":1,"subscription":"a","options":{"from":"end"},"bufferSise":5}`, "ok", "/bufferSise"},
			{`{"op":"unsubscribe","id":9,"sub":1,"now":true}`, "ok", "/now"},
			{`{"op":"cancel","id":10,"now":true}`, "", ""},
			{`{"op":"subscribe","id":11,"sub":2,"stream":"none"}`, "ok", ""},
		} {
			p.say(c.text)
			if c.op == "" {
				continue
			}
			var m map[string]any
			for m["op"] != c.op && m["op"] != "error" {
				kind, text, err := p.ReadMessage()
				if err != nil {
					t.Fatal(err)
				}
				if kind == websocket.TextMessage {
					m = nil
					if err := json.Unmarshal(text, &m); err != nil {
						t.Fatal(err)
					}
				}
			}
			list, _ := m["warnings"].([]any)
			if m["op"] != c.op || len(list) > 1 || len(list) == 1 && list[0] != c.field+" is not a field that is known; it was ignored" || (len(list) == 1) != (c.field != "") {
				t.Errorf("%s: %s is answered %v", protocol, c.text, m)
			}
		}
	}
}

// TestWSVersions: the answer to a handshake of another version has the one there is.
func TestWSVersions(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	handshake := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for _, version := range []string{"Sec-WebSocket-Version: 12", "Sec-WebSocket-Version: 014", "X-None: 1"} {
		a := n.do("GET", "/v1/ws", "", append(handshake, version)...).want(t, 400)
		if f := a.fields(t); f["code"] != "version_unsupported" || a.Header.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("%s: %v %s", version, a.Header, a.body)
		}
	}
	a := n.do("GET", "/v1/ws", "", "Sec-WebSocket-Version: 13").want(t, 400)
	if f := a.fields(t); f["code"] != "protocol_error" || a.Header.Get("Sec-WebSocket-Version") != "" {
		t.Errorf("no handshake: %v %s", a.Header, a.body)
	}
}

func TestWSRefusesBadMessages(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.greeted()
	const ev = `[{"type":"A","data":1}]`
	type row struct {
		text string
		id   float64
		code string
	}
	rows := []row{
		{``, 0, "invalid_request"},
		{`x`, 0, "invalid_request"},
		{`[]`, 0, "invalid_request"},
		{`7`, 0, "invalid_request"},
		{`{}`, 0, "invalid_request"},
		{`{"op":7}`, 0, "invalid_request"},
		{`{"op":"append","id":2`, 2, "invalid_request"},
		{`{"op":"append","id":2}x`, 2, "invalid_request"},
		{`{"op":"fly","id":2}`, 2, "unknown_op"},
		{`{"id":2,"op":"fly"}`, 2, "unknown_op"},
		{`{"op":"welcome","id":2}`, 2, "unknown_op"},
		{`{"op":"hello","id":2}`, 2, "invalid_request"},
		{`{"op":"append","stream":"s","events":` + ev + `}`, 0, "invalid_request"},
		{`{"op":"append","id":0,"stream":"s","events":` + ev + `}`, 0, "invalid_request"},
		{`{"op":"append","id":-1,"stream":"s","events":` + ev + `}`, 0, "invalid_request"},
		{`{"op":"append","id":1.5,"stream":"s","events":` + ev + `}`, 0, "invalid_request"},
		{`{"op":"append","id":9007199254740992,"stream":"s","events":` + ev + `}`, 0, "invalid_request"},
		{`{"op":"append","id":1e999,"stream":"s","events":` + ev + `}`, 0, "invalid_request"},
		{`{"op":"append","id":2,"id":3,"stream":"s","events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":7,"events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":"s"}`, 2, "empty_append"},
		{`{"op":"append","id":2,"stream":"s","events":[]}`, 2, "empty_append"},
		{`{"op":"append","id":2,"stream":"s","events":{}}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":"s","tx":[],"events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"tx":[]}`, 2, "empty_append"},
		{`{"op":"append","id":2,"stream":"s","checks":[],"events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":"s","timeoutMs":-1,"events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":"s","timeoutMs":"1","events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":"s","timeoutMs":9007199254740992,"events":` + ev + `}`, 2, "invalid_request"},
		{`{"op":"append","id":2,"stream":"s","events":[` + strings.Repeat(`{"type":"A","data":1},`, core.MaxCommitEvents) + `{"type":"A","data":1}]}`, 2, "commit_too_large"},
		{`{"op":"read","id":2,"stream":"s"}`, 2, "stream_not_found"},
		{`{"op":"read","id":2,"stream":""}`, 2, "invalid_stream_name"},
		{`{"op":"read","id":2,"stream":"$"}`, 2, "invalid_stream_name"},
		{`{"op":"read","id":2,"stream":"$all","from":-1}`, 2, "invalid_request"},
		{`{"op":"read","id":2,"stream":"$all","from":9007199254740992}`, 2, "invalid_request"},
		{`{"op":"read","id":2,"stream":"$all","limit":-1}`, 2, "invalid_request"},
		{`{"op":"read","id":2,"stream":"$all","dir":"up"}`, 2, "invalid_request"},
		{`{"op":"read","id":2,"stream":"$all","dir":"backward","links":true}`, 2, "invalid_request"},
		{`{"op":"read","id":2,"stream":"s","links":true}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","stream":"s"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","from":"end"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","ack":"auto"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"a\u0000"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"$billing"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"` + strings.Repeat("x", 257) + `"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","consumer":"` + strings.Repeat("x", 257) + `"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":7}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"bufferSize":0}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"bufferSizes":1}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"partitionBy":"moon"}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"retry":{"max":0}}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"retry":null}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"map":7}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"map":[""]}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"map":"1 +"}}`, 2, "invalid_expression"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"map":{}}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"map":{"plugin":"x@1","y":1}}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"filter":{"plugin":"x"}}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"filter":{"plugin":""}}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"partitionBy":"plugin:x"}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"map":{"plugin":"x@1"}}}`, 2, "not_supported"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"filter":{"expr":"data."}}}`, 2, "invalid_expression"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"filter":{"expr":"1"}}}`, 2, "invalid_expression"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"partitionBy":"expr:("}}`, 2, "invalid_expression"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"filter":{"expr":"` + strings.Repeat("!", 5000) + `true"}}}`, 2, "invalid_expression"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"filter":{"types":[""]}}}`, 2, "invalid_filter"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"stream":"$"}}`, 2, "invalid_stream_name"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","system":true}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"from":{"position":99}}}`, 2, "invalid_cursor"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"from":{"version":9}}}`, 2, "invalid_cursor"},
		{`{"op":"subscribe","id":2,"sub":1,"subscription":"billing","options":{"from":{"cursor":"other.1"}}}`, 2, "log_changed"},
		{`{"op":"ack","id":2,"sub":9,"positions":[1]}`, 2, "lease_lost"},
		{`{"op":"nack","id":2,"sub":9,"positions":[1],"action":"retry"}`, 2, "lease_lost"},
		{`{"op":"extend","id":2,"sub":9,"positions":[1],"ms":1}`, 2, "lease_lost"},
		{`{"op":"ack","id":2,"sub":9,"positions":"all"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"stream":"s"}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1}`, 2, "invalid_stream_name"},
		{`{"op":"subscribe","id":2,"sub":1,"stream":"$"}`, 2, "invalid_stream_name"},
		{`{"op":"subscribe","id":2,"sub":1,"stream":"s","credit":{"events":-1}}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"stream":"s","maxBatch":-1}`, 2, "invalid_request"},
		{`{"op":"subscribe","id":2,"sub":1,"stream":"s","filter":{"types":[""]}}`, 2, "invalid_filter"},
		{`{"op":"subscribe","id":2,"sub":1,"stream":"s","filter":7}`, 2, "invalid_request"},
		{`{"op":"unsubscribe","sub":1}`, 0, "invalid_request"},
	}
	for _, from := range []string{`"now"`, `7`, `{}`, `[]`, `{"cursor":"x"}`, `{"cursor":"a.1.2"}`, `{"position":1,"version":1}`, `{"position":-1}`,
		`{"position":9007199254740992}`, `{"position":7}`, `{"version":7}`, `{"time":"noon"}`, `{"cursor":"` + strings.Repeat("a", 200) + `.1"}`} {
		rows = append(rows, row{`{"op":"subscribe","id":2,"sub":1,"stream":"s","from":` + from + `}`, 2, "invalid_cursor"})
	}
	rows = append(rows, row{`{"op":"subscribe","id":2,"sub":1,"stream":"$all","from":{"cursor":"other.1"}}`, 2, "log_changed"})
	for _, expect := range []string{`"none"`, `"5"`, `""`, `-1`, `-2`, `1.5`, `1e3`, `9007199254740992`, `true`, `{}`, `[]`} {
		rows = append(rows, row{`{"op":"append","id":2,"stream":"s","expect":` + expect + `,"events":` + ev + `}`, 2, "invalid_expected_version"})
	}
	for name, code := range badStreams() {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row{`{"op":"append","id":2,"stream":` + string(quoted) + `,"events":` + ev + `}`, 2, code})
	}
	for _, c := range badEvents() {
		rows = append(rows, row{`{"op":"append","id":2,"stream":"s","events":[{"type":"OK","data":1},` + c.event + `]}`, 2, c.code})
	}
	for _, r := range rows {
		p.say(r.text)
		p.refused(r.text, r.id, r.code)
	}
	// What is ignored: credit and unsubscribe of what is not there, cancel of nothing,
	// fields from the future.
	p.say(`{"op":"credit","sub":9,"events":1,"bytes":1}` + "\n" + `{"op":"cancel","id":77}` + "\n" + `{"op":"pong","n":1}` + "\n" + `{"op":"unsubscribe","id":5,"sub":9,"new":[1]}`)
	if m := p.receive(); m["op"] != "ok" || m["id"] != 5.0 {
		t.Errorf("unsubscribe was answered %v", m)
	}
	n.headIs(0)
}

func TestWSEndsWithTheRightCode(t *testing.T) {
	record := core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte("1")})
	frame := wire.AppendCommit(nil, &wire.CommitFrame{ID: 2, Commit: core.Commit{Appends: []core.Append{{Stream: "s", Events: []core.NewEvent{{Type: "A", Data: []byte("1")}}}}}})
	compressed := bytes.Clone(frame)
	compressed[1] = 1
	flagged := bytes.Clone(frame)
	flagged[1] = 0x80
	many := binary.AppendUvarint([]byte{2, 0, 2, 1, 1, 's'}, 1<<40)
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Hello: 300 * time.Millisecond}})
	for name, c := range map[string]struct {
		protocol string
		hello    bool
		text     string
		frame    []byte
		code     int
	}{
		"first something else":      {wire.JSON, false, `{"op":"read","id":1,"stream":"s"}`, nil, 4504},
		"first not JSON":            {wire.JSON, false, `hello`, nil, 4504},
		"first a binary frame":      {wire.Bin, false, "", frame, 4504},
		"nothing":                   {wire.JSON, false, "", nil, 4504},
		"hello without id":          {wire.JSON, false, `{"op":"hello"}`, nil, 4502},
		"hello is wrong":            {wire.JSON, false, `{"op":"hello","id":1,"accept":7}`, nil, 4502},
		"large hello":               {wire.JSON, false, `{"op":"hello","id":1,"x":"` + strings.Repeat("x", 8<<10) + `"}`, nil, 1009},
		"invalid UTF-8":             {wire.JSON, true, "{\"op\":\"\xff\"}", nil, 1007},
		"large message":             {wire.JSON, true, `{"op":"x","x":"` + strings.Repeat("x", 5<<20) + `"}`, nil, 1009},
		"large frame":               {wire.Bin, true, "", make([]byte, 5<<20+1), 1009},
		"binary in JSON":            {wire.JSON, true, "", frame, 4502},
		"unknown kind":              {wire.Bin, true, "", []byte{9, 0}, 4502},
		"EVENTS from a client":      {wire.Bin, true, "", []byte{1, 0, 1, 0}, 4502},
		"compressed":                {wire.Bin, true, "", compressed, 4502},
		"unknown flag":              {wire.Bin, true, "", flagged, 4502},
		"cut frame":                 {wire.Bin, true, "", frame[:len(frame)-1], 4502},
		"more events than there is": {wire.Bin, true, "", append(many, record...), 4502},
		"half a frame after one":    {wire.Bin, true, "", append([]byte{5, 0, 1, 1, 1}, 2), 4502},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{t: t, store: n.store, api: n.api, http: n.http}
			p := n.connect(c.protocol)
			if c.hello {
				p.say(`{"op":"hello","id":1}`)
				p.receive()
			}
			switch {
			case c.frame != nil:
				p.send(c.frame)
			case c.text != "":
				// The server may hang up in the middle.
				_ = p.WriteMessage(websocket.TextMessage, []byte(c.text))
			}
			p.closed(name, c.code)
		})
	}
	n.headIs(0)
}

func TestWSRefusesBadBinaryAppends(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	p := n.greeted(wire.Bin, wire.JSON)
	good := core.NewEvent{Type: "A", Data: []byte("1")}
	for name, c := range map[string]struct {
		stream string
		expect core.Expect
		event  core.NewEvent
		code   string
	}{
		"data":       {"s", -1, core.NewEvent{Type: "A", Data: []byte("{")}, "invalid_data"},
		"no data":    {"s", -1, core.NewEvent{Type: "A"}, "invalid_data"},
		"names":      {"s", -1, core.NewEvent{Type: "A", Data: []byte(`{"a":1,"a":1}`)}, "invalid_data"},
		"UTF-8":      {"s", -1, core.NewEvent{Type: "A", Data: []byte("\"\xff\"")}, "invalid_data"},
		"format":     {"s", -1, core.NewEvent{Type: "A", Format: 2, Data: []byte("1")}, "invalid_data"},
		"metadata":   {"s", -1, core.NewEvent{Type: "A", Data: []byte("1"), Metadata: []byte("1")}, "invalid_metadata"},
		"type":       {"s", -1, core.NewEvent{Type: "\xff", Data: []byte("1")}, "invalid_event_type"},
		"expect":     {"s", -4, good, "invalid_expected_version"},
		"huge":       {"s", 1 << 60, good, "invalid_expected_version"},
		"stream":     {"\xff", -1, good, "invalid_stream_name"},
		"reserved":   {"$all", -1, good, "reserved_stream_name"},
		"conflict":   {"s", 7, good, "wrong_expected_version"},
		"size":       {"s", -1, core.NewEvent{Type: "A", Format: core.Bytes, Data: make([]byte, core.MaxEventBytes+1)}, "event_too_large"},
		"time":       {"s", -1, core.NewEvent{Type: "A", Data: []byte("1"), Time: time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)}, "invalid_event_time"},
		"media type": {"s", -1, core.NewEvent{Type: "A", Data: []byte("1"), ContentType: "\x01"}, "invalid_content_type"},
	} {
		// A second append in the same message is not affected.
		message := wire.AppendCommit(nil, &wire.CommitFrame{ID: 7, Commit: core.Commit{Appends: []core.Append{{Stream: c.stream, Expect: c.expect, Events: []core.NewEvent{c.event}}}}})
		message = wire.AppendCommit(message, &wire.CommitFrame{ID: 8, Commit: core.Commit{Appends: []core.Append{{Stream: "none", Expect: core.StreamExists, Events: []core.NewEvent{good}}}}})
		p.send(message)
		p.refused(name, 7, c.code)
		p.refused(name, 8, "wrong_expected_version")
	}
	p.send(wire.AppendCommit(nil, &wire.CommitFrame{ID: 0, Commit: core.Commit{Appends: []core.Append{{Stream: "s", Expect: -1, Events: []core.NewEvent{good}}}}}))
	p.refused("id 0", 0, "invalid_request")
	n.headIs(0)
}

func TestWSLimitsOfAConnection(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Subs: 2, Connections: 1}})
	p := n.greeted()
	for i, code := range []string{"", "", "duplicate_sub", "too_many_subs"} {
		sub := []int{1, 2, 2, 3}[i]
		p.say(fmt.Sprintf(`{"op":"subscribe","id":%d,"sub":%d,"stream":"s","credit":{"events":1}}`, 10+i, sub))
		if code != "" {
			p.refused(code, float64(10+i), code)
			continue
		}
		if m := p.receive(); m["op"] != "ok" || m["sub"] != float64(sub) || m["cursor"] == nil {
			t.Errorf("subscribe was answered %v", m)
		}
		if m := p.receive(); m["op"] != "status" || m["state"] != "live" {
			t.Errorf("status %v", m)
		}
	}
	_, res, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(n.http.URL, "http")+"/v1/ws", nil)
	if err == nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a connection too many: %v, %v", res, err)
	}
}

func TestWSRawViolations(t *testing.T) {
	n := newNode(t, wsapi.Config{})
	masked := func(first byte, payload string) string {
		return string([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
	}
	for name, frame := range map[string]string{
		"unmasked":             "\x81\x02{}",
		"RSV1":                 masked(0xc1, "{}"),
		"RSV2":                 masked(0xa1, "{}"),
		"RSV3":                 masked(0x91, "{}"),
		"opcode 3":             masked(0x83, "{}"),
		"opcode 11":            masked(0x8b, ""),
		"fragmented ping":      masked(0x09, ""),
		"long ping":            "\x89\xfe\x00\x7e\x00\x00\x00\x00" + strings.Repeat("x", 126),
		"continuation of none": masked(0x80, "{}"),
		"text in a text":       masked(0x01, "{") + masked(0x81, "}"),
		"close code 1005":      masked(0x88, "\x03\xed"),
	} {
		c := n.raw(handshake)
		br := bufio.NewReader(c)
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%s: %v, %v", name, res, err)
		}
		if _, err := io.WriteString(c, frame); err != nil {
			t.Fatal(err)
		}
		after, err := io.ReadAll(br)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// A close frame with a code: 0x88, length, code.
		if i := bytes.IndexByte(after, 0x88); i < 0 || len(after) < i+4 || binary.BigEndian.Uint16(after[i+2:]) != 1002 {
			t.Errorf("%s: ended with %x, want close 1002", name, after)
		}
	}
	n.headIs(0)
}
