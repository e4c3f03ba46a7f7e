package wsapi_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// TestMemoryIsRefused: what does not fit into the memory for connections is overloaded,
// and small requests are served.
func TestMemoryIsRefused(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Memory: 1 << 20, IOTimeout: 100 * time.Millisecond}})
	large := fmt.Sprintf(`{"type":"A","data":%q}`, strings.Repeat("x", 900<<10))
	n.do("POST", "/v1/streams/large/events", large).want(t, 201)
	n.do("GET", "/v1/streams/large/events", "").want(t, 200)
	twice := "[" + large + "," + large + "]"

	a := n.do("POST", "/v1/streams/s/events", twice).want(t, 503)
	if a.fields(t)["code"] != "overloaded" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%v %s", a.Header, a.body)
	}
	p := n.greeted()
	p.say(`{"op":"append","id":2,"stream":"s","events":` + twice + `}`)
	p.refused("a message", 0, "overloaded")
	p.closed("a message", 4004)

	// A message without its end takes the memory.
	c := n.raw(handshake)
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	hello := `{"op":"hello","id":1}`
	message := string([]byte{0x81, 0x80 | byte(len(hello)), 0, 0, 0, 0}) + hello + string(binary.BigEndian.AppendUint64([]byte{0x82, 0x80 | 127}, 1<<20-1)) +
		"\x00\x00\x00\x00" + strings.Repeat("x", 1<<20-2)
	if _, err := io.WriteString(c, message); err != nil {
		t.Fatal(err)
	}
	n.untilMetric("gyre_connection_memory_bytes", 1<<20-2*requests.Allowance)
	for _, protocol := range []string{wire.JSON, wire.Bin} {
		p := n.greeted(protocol)
		p.say(`{"op":"read","id":2,"stream":"large"}`)
		p.refused("read", 2, "overloaded")
		p.say(`{"op":"subscribe","id":3,"sub":1,"stream":"large"}`)
		if m := p.receive(); m["op"] != "ok" {
			t.Errorf("subscribe: %v", m)
		}
		m := p.receive()
		if e, _ := m["error"].(map[string]any); m["op"] != "end" || e["code"] != "overloaded" || m["retryable"] != true {
			t.Errorf("follow: %v", m)
		}
	}
	n.do("POST", "/v1/streams/small/events", `{"type":"A","data":1}`).want(t, 201)
	if a := n.do("GET", "/v1/streams/large/events", "").want(t, 503); a.fields(t)["code"] != "overloaded" {
		t.Errorf("%s", a.body)
	}
	n.do("GET", "/v1/streams/small/events", "").want(t, 200)
	_ = c.Close()
	n.untilMetric("gyre_connection_memory_bytes", 0)
	if a := n.do("GET", "/metrics", ""); !strings.Contains(string(a.body), "\ngyre_connection_memory_refused_total 7\n") {
		t.Errorf("metrics: %s", a.body)
	}
}

// TestWaitsHoldNoMemory: what waits for events takes nothing of the memory for
// connections, whatever it was sent before.
func TestWaitsHoldNoMemory(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Memory: 1 << 20}})
	large := fmt.Sprintf(`{"type":"A","data":%q}`, strings.Repeat("x", 200<<10))
	n.do("POST", "/v1/streams/s/events", large).want(t, 201)
	r, err := http.NewRequestWithContext(t.Context(), "GET", n.http.URL+"/v1/events?from=start", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	tail := bufio.NewReader(res.Body)
	untilLine := func(prefix string) {
		for line := ""; !strings.HasPrefix(line, prefix); {
			if line, err = tail.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	untilLine(`data: {"stream"`)
	n.untilMetric("gyre_connection_memory_bytes", 0)

	n.do("PUT", "/v1/subscriptions/f", `{"from":"end"}`).want(t, 201)
	events := make(chan fetched, 1)
	go func() { events <- n.fetch("f", `{"waitMs":20000}`) }()
	n.until("f", "subscriber", func(i *subscriptions.Info) bool { return len(i.Subscribers) == 1 })
	n.untilMetric("gyre_connection_memory_bytes", 0)
	n.do("POST", "/v1/streams/s/events", large).want(t, 201)
	if f := <-events; len(f.Events) != 1 {
		t.Errorf("fetched %+v", f)
	}
	untilLine(`data: {"stream"`)
	n.untilMetric("gyre_connection_memory_bytes", 0)
}

// TestCompressedFramesTakeMemory: a frame counts with what it has when it is not compressed
// any more. One that does not fit is refused, and the connection goes on.
func TestCompressedFramesTakeMemory(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Memory: 1 << 20, IOTimeout: 100 * time.Millisecond}})
	for _, codec := range codecs {
		p := n.compressed(codec)
		large := core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", 600<<10) + `"`)})
		small := core.EncodeNewEvent(nil, &core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", 2<<10) + `"`)})
		message := append(codedAppend(codec, 2, large, 1), codedAppend(codec, 3, append(large, large...), 2)...)
		p.send(append(message, codedAppend(codec, 4, small, 1)...))
		answers := map[uint64]any{}
		for _, r := range p.replies(3) {
			answers[r.id] = r.err["code"]
		}
		if got, want := fmt.Sprint(answers), "map[2:<nil> 3:overloaded 4:<nil>]"; got != want {
			t.Errorf("%s: answered %s, want %s", codec, got, want)
		}
		p.send(codedAppend(codec, 5, large, 1))
		if r := p.replies(1); r[0].err != nil {
			t.Errorf("%s: %v", codec, r[0].err)
		}
		n.untilMetric("gyre_connection_memory_bytes", 0)
	}
}

// TestBodiesTakeMemoryAsTheyCome: a client that says that it will send much, and does not,
// keeps nobody else from sending.
func TestBodiesTakeMemoryAsTheyCome(t *testing.T) {
	n := newNode(t, wsapi.Config{Limits: wsapi.Limits{Memory: 1 << 20, IOTimeout: 5 * time.Second}})
	body := fmt.Sprintf(`{"type":"A","data":%q}`, strings.Repeat("x", 700<<10))
	c := n.raw(fmt.Sprintf("POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body)))
	response := bufio.NewReader(c)
	if line, err := response.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	n.untilMetric("gyre_connection_memory_bytes", 0)
	n.do("POST", "/v1/streams/s/events", body).want(t, 201)
	if _, err := io.WriteString(c, body); err != nil {
		t.Fatal(err)
	}
	for line := ""; !strings.Contains(line, " 201 "); {
		var err error
		if line, err = response.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	n.untilMetric("gyre_connection_memory_bytes", 0)
}
