package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core/ring"

	"github.com/gyre-events/gyre/plugins"
)

func TestNumbersForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{comma(0), "0"}, {comma(999), "999"}, {comma(1000), "1,000"}, {comma(1234567), "1,234,567"},
		{rate(0, 0), "0/s"}, {rate(999, time.Second), "999/s"}, {rate(1500, time.Second), "1.5k/s"},
		{rate(101_518, 2*time.Second), "51k/s"}, {rate(999_600, time.Second), "1.0M/s"},
		{clock(0), "00:00"}, {clock(61 * time.Second), "01:01"}, {clock(100 * time.Minute), "100:00"},
		{shellQuote("order-1"), "order-1"}, {shellQuote("$all"), "'$all'"}, {shellQuote("a'b"), `'a'\''b'`}, {shellQuote(""), "''"},
		{cell("a\nb\x1b[31m\u0085c", 20), "a b [31m c"}, {cell("a\u202eb\u2066c\u200fé", 40), `a\u202eb\u2066c\u200fé`}, {cell("abcdef", 4), "abc…"}, {cell("äöü", 3), "äöü"},
		{nearest("lisen", []string{"data", "listen"}), "listen"}, {nearest("xyz", []string{"data"}), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestListInParts prints a list in parts and in one, which is to make no difference but
// for the width that a table's column has before a longer value came.
func TestListInParts(t *testing.T) {
	items := []listedStream{{Stream: "a", Version: 1}, {Stream: "a-longer-name", Version: 22}, {Stream: "b", Version: 3}, {Stream: "\"<c>\"", Version: 4}}
	row := func(s listedStream) []string { return []string{s.Stream, comma(s.Version)} }
	header := []string{"stream", "version"}
	for _, format := range []outputFormat{asTable, asJSON, asNDJSON} {
		var whole, parts bytes.Buffer
		if err := printList(&app{stdout: &whole, output: format}, items, header, row); err != nil {
			t.Fatal(err)
		}
		l := list[listedStream]{app: &app{stdout: &parts, output: format}, header: header, row: row}
		for _, part := range [][]listedStream{items[:2], {}, items[2:3], items[3:], {}} {
			if err := l.print(part); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		if parts.String() != whole.String() {
			t.Errorf("%s: in parts\n%s\nin one\n%s", format, &parts, &whole)
		}
	}
	var empty bytes.Buffer
	if err := printList[listedStream](&app{stdout: &empty, output: asJSON}, nil, header, row); err != nil || empty.String() != "[]\n" {
		t.Errorf("an empty list is %q, %v", &empty, err)
	}
}

func TestLatencies(t *testing.T) {
	var samples []time.Duration
	for i := range 1000 {
		samples = append(samples, time.Duration(1000-i)*time.Millisecond)
	}
	want := latency{P50: 500, P90: 900, P99: 990, P999: 999, Max: 1000}
	if got := latencyOf(samples); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	one := latency{P50: 1, P90: 1, P99: 1, P999: 1, Max: 1}
	if got := latencyOf(samples[:1]); got != one {
		t.Errorf("%+v, want %+v", got, one)
	}
	if got := latencyOf(nil); got != (latency{}) {
		t.Errorf("%+v of nothing", got)
	}
}

func TestMeterWithoutTerminal(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{stderr: &stderr}
	m := a.newMeter("import", 200)
	m.set(10, 1000)
	if stderr.Len() > 0 {
		t.Errorf("says %q at once", &stderr)
	}
	m.lastLine = m.lastLine.Add(-plainEvery)
	m.set(50, 5000)
	m.set(60, 6000)
	m.finish()
	if got := stderr.String(); !strings.HasPrefix(got, "import: 5,000 events, ") || !strings.HasSuffix(got, "/s, 25%\n") {
		t.Errorf("says %q", got)
	}
}

func TestLinesAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"too long":      {`{"stream":"s"}` + "\n" + strings.Repeat("x", maxLineBytes+1), "stdin:2: event_too_large"},
		"broken gzip":   {"\x1f\x8bnot really", "read stdin: gzip"},
		"cut off gzip":  {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "read stdin after line 0: unexpected EOF"},
		"empty":         {"", ""},
		"one character": {"\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := &app{stdin: strings.NewReader(c.in)}
			in, err := a.openLines("-")
			if err == nil {
				for in.next() {
				}
				err = in.err
			}
			got := ""
			if err != nil {
				got = err.Error()
			}
			if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzDecodeImport(f *testing.F) {
	f.Add([]byte(`{"stream":"s","id":"00000000-0000-4000-8000-000000000001","type":"T","time":"2020-01-02T03:04:05Z","data":{"n":1.0},"metadata":{"a":"b"}}`))
	f.Add([]byte(`{"stream":"s","version":1,"position":2,"type":"T","recorded":"x","dataBase64":"aGVsbG8=","contentType":"text/plain"}`))
	f.Add([]byte(`{"stream":"l","id":"00000000-0000-4000-8000-000000000001","type":"T","data":1,"link":{"stream":"s","version":1,"position":2}}`))
	f.Add([]byte(`{"stream":"l","version":1,"position":3,"id":"00000000-0000-4000-8000-000000000001","type":"T","link":{"stream":"s","version":1,"position":2}}`))
	f.Add([]byte(`{"stream":`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := decodeImport(line)
		if err == nil && (e.stream == "" || !e.isLink && e.event.Data == nil && e.event.Format == 0) {
			t.Errorf("%q is taken as %+v", line, e)
		}
	})
}

// Slots on their way have a row each in the status of a ring, and control characters none.
func TestStatusOfMoves(t *testing.T) {
	got := statusWords(ring.Status{Moves: []ring.Move{{From: "a", To: "b\x1b", Slots: 3}, {From: "c", To: "a", Slots: 1}}})
	if !strings.Contains(got, "\nmoving   3 slots from a to b") || !strings.Contains(got, "\nmoving   1 slots from c to a\n") || strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

func TestShadowWords(t *testing.T) {
	if words := shadowWords(&plugins.ShadowStatus{}); strings.Contains(words, "position 0") || !strings.Contains(words, "no event was compared yet: ") {
		t.Errorf("before the first batch: %s", words)
	}
	if words := shadowWords(&plugins.ShadowStatus{Events: 1, Since: 3, Differ: 1}); !strings.HasPrefix(words, "1 event compared behind position 3: 1 differs, ") {
		t.Errorf("of one event it says %q", words)
	}
	if words := shadowWords(&plugins.ShadowStatus{Events: 2, Since: 3}); !strings.Contains(words, "2 events compared behind position 3") {
		t.Errorf("behind 3: %s", words)
	}
}

// A deploy says that the config of a newer manifest is not in use.
func TestTellUnused(t *testing.T) {
	v := plugins.Version{Manifest: plugins.Manifest{Config: []byte(`{"a":1,"b":2}`)}}
	for _, c := range []struct{ name, flag, config, want string }{
		{"the same", "", `{"b":2, "a":1}`, ""},
		{"another", "", `{"a":0}`, "The config of x stays {\"a\":0}. The manifest has {\"a\":1,\"b\":2}: --config sets it.\n"},
		{"asked for", `{"a":0}`, `{"a":0}`, ""},
	} {
		var said strings.Builder
		a := &app{stderr: &said}
		a.tellUnused(&deployment{config: c.flag}, &v, &plugins.Status{Binding: plugins.Binding{Name: "x", Config: []byte(c.config)}})
		if said.String() != c.want {
			t.Errorf("%s: %q", c.name, said.String())
		}
	}
}
