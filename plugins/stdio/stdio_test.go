package stdio_test

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/stdio"
)

func TestBatchIsLines(t *testing.T) {
	var w abi.BatchWriter
	w.Reset(2_000_000, 3, 0)
	fields := abi.AppendField(nil, abi.LinkOrigin, []byte("a@b@4"))
	fields = abi.AppendField(fields, abi.ContentType, []byte("text/plain"))
	for _, e := range []abi.Event{
		{
			Position: 7, Version: 1, TimeMicros: 1_500_000, ID: abi.ID{1}, Attempt: 3, Flags: abi.JSON,
			Stream: []byte(`order-"1"`), Type: []byte("Placed"), Data: []byte("{\n \"total\": 10\r\n}"), Metadata: []byte(`{"a":1}`),
		},
		{Position: 9, Version: 2, TimeMicros: 2_000_000, Attempt: 1, Flags: abi.Replay, Stream: []byte("s"), Type: []byte("T"), Data: []byte{0, 255}, Fields: fields},
	} {
		if err := w.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := stdio.AppendBatch(nil, w.Bytes(), []byte("{\n\"least\": 10}"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"batch":{"events":2,"config":{"least": 10}}}
{"stream":"order-\"1\"","version":1,"position":7,"id":"01000000-0000-0000-0000-000000000000","type":"Placed",` +
		`"time":"1970-01-01T00:00:01.5Z","recorded":"1970-01-01T00:00:01.5Z","data":{ "total": 10},"metadata":{"a":1},"attempt":3}
{"stream":"s","version":2,"position":9,"id":"00000000-0000-0000-0000-000000000000","type":"T",` +
		`"time":"1970-01-01T00:00:02Z","recorded":"1970-01-01T00:00:02Z","dataBase64":"AP8=","contentType":"text/plain","metadata":{},` +
		`"link":{"stream":"a@b","version":4},"attempt":1,"replay":true}
`
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := stdio.AppendBatch(nil, []byte("GYB1"), nil); !errors.Is(err, abi.ErrCorrupt) {
		t.Errorf("a batch that is none: %v", err)
	}
}

// eventOf is an appended event as the ABI has it.
func eventOf(t *testing.T, e abi.Appended) []byte {
	t.Helper()
	b, err := abi.AppendEvent(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	for line, want := range map[string]stdio.Effect{
		`{"do":"append","position":7,"stream":"s","events":[{"type":"T","data":{"a":1},"metadata":{"m":2}},{"type":"U","dataBase64":"AP8="}]}`: {
			Do: plugins.DoAppend, Position: 7, Stream: "s", Expect: abi.AnyVersion,
			Events: append(eventOf(t, abi.Appended{Type: []byte("T"), Data: []byte(`{"a":1}`), Metadata: []byte(`{"m":2}`)}),
				eventOf(t, abi.Appended{Type: []byte("U"), Content: abi.ContentBytes, Data: []byte{0, 255}})...),
		},
		`{"position":7,"expect":"no_stream","stream":"s","events":[{"type":"T","data":null}],"do":"append"}`: {
			Do: plugins.DoAppend, Position: 7, Stream: "s", Expect: abi.NoStream, Events: eventOf(t, abi.Appended{Type: []byte("T"), Data: []byte("null")}),
		},
		`{"do":"append","position":7,"expect":12,"stream":"s","events":[{"type":"T","data":1}]}`: {
			Do: plugins.DoAppend, Position: 7, Stream: "s", Expect: 12, Events: eventOf(t, abi.Appended{Type: []byte("T"), Data: []byte("1")}),
		},
		`{"do":"put","position":1,"key":"k","value":null}`:                     {Do: plugins.DoPut, Position: 1, Key: "k", Value: []byte("null")},
		`{"do":"put","position":1,"key":"k","valueBase64":""}`:                 {Do: plugins.DoPut, Position: 1, Key: "k", Value: []byte{}},
		`{"do":"delete","position":1,"key":"k"}`:                               {Do: plugins.DoDelete, Position: 1, Key: "k"},
		` {"do": "ack", "position": 18446744073709551615} `:                    {Do: stdio.DoAck, Position: 1<<64 - 1},
		`{"do":"skip","position":0}`:                                           {Do: stdio.DoSkip},
		`{"do":"park","position":2}`:                                           {Do: stdio.DoPark, Position: 2},
		`{"do":"retry","position":2,"reason":"later","delayMs":1500}`:          {Do: stdio.DoRetry, Position: 2, Reason: "later", Delay: 1500 * time.Millisecond},
		`{"do":"log","text":"a"}`:                                              {Do: plugins.DoLog, Level: abi.Info, Text: "a"},
		`{"do":"log","level":"error","text":"\u00e4"}`:                         {Do: plugins.DoLog, Level: abi.Error, Text: "ä"},
		`{"do":"metric","kind":"histogram","name":"seconds","value":-1.25e-3}`: {Do: stdio.DoMetric, Kind: abi.Histogram, Name: "seconds", Amount: -1.25e-3},
	} {
		got, err := stdio.Decode([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		} else if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, want %+v", line, *got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for line, want := range map[string]string{
		``:                                         "it is empty",
		`hello`:                                    "it is no JSON object: hello",
		`[1]`:                                      "it is no JSON object: [1]",
		`null`:                                     "it is no JSON object: null",
		`{"position":1}`:                           "it has no do, which says what it does: one of ack, append, delete, log, metric, park, put, retry, skip",
		`{"do":1}`:                                 "do is no text",
		`{"do":"sing"}`:                            `do is "sing", which is none of ack, append,`,
		`{"do":"ack"}`:                             "ack needs position, that of its event",
		`{"do":"ack","position":"1"}`:              "/position has a value of another type there",
		`{"do":"ack","position":-1}`:               "/position has a value of another type there",
		`{"do":"ack","position":1.5}`:              "/position has a value of another type there",
		`{"do":"ack","position":1,"Position":1}`:   "there is no member /Position",
		`{"do":"ack","position":1,"position":1}`:   "it is no JSON: duplicate object member name",
		`{"do":"ack","do":"skip","position":1}`:    "it is no JSON: duplicate object member name",
		`{"do":"ack","position":1}{}`:              "it is no JSON: invalid character '{' after top-level value",
		`{"do":"ack","position":1`:                 "it is no JSON: unexpected EOF",
		"{\"do\":\"log\",\"text\":\"\xff\"}":       "it is no JSON: invalid UTF-8",
		`{"do":"log","position":1,"text":"a"}`:     "there is no member /position",
		`{"do":"log","level":"loud","text":"a"}`:   `level is "loud", which is none of debug, info, warn, error`,
		`{"do":"skip","position":1,"reason":"no"}`: "there is no member /reason",
		`{"do":"put","position":1,"key":"k"}`:      "put needs value or valueBase64, and not both",
		`{"do":"put","position":1,"key":"k","value":1,"valueBase64":"AA=="}`:                         "put needs value or valueBase64, and not both",
		`{"do":"put","position":1,"key":"k","valueBase64":"*"}`:                                      "/valueBase64 has a value of another type there",
		`{"do":"retry","position":1,"delayMs":-1}`:                                                   "delayMs is -1",
		`{"do":"append","position":1,"stream":"s"}`:                                                  "append needs events",
		`{"do":"append","position":1,"stream":"s","events":[{"type":"T"}]}`:                          "event 1: it needs data or dataBase64",
		`{"do":"append","position":1,"stream":"s","events":[{"type":"T","data":1,"id":1}]}`:          "there is no member /events/0/id",
		`{"do":"append","position":1,"stream":"s","events":null}`:                                    "/events has a value of another type there",
		`{"do":"append","position":1,"stream":"s","events":[` + many(abi.MaxAppended+1) + `]}`:       "a batch appends at most 1024 events",
		`{"do":"append","position":1,"stream":"s","expect":"7","events":[]}`:                         "append needs events",
		`{"do":"append","position":1,"stream":"s","expect":"7","events":[{"type":"T","data":1}]}`:    `expect is "7", a number has no quotes`,
		`{"do":"append","position":1,"stream":"s","expect":-1,"events":[{"type":"T","data":1}]}`:     `expect is -1, and not a number`,
		`{"do":"append","position":1,"stream":"s","expect":true,"events":[{"type":"T","data":1}]}`:   `expect is true, and not a number`,
		`{"do":"append","position":1,"stream":"s","expect":"some","events":[{"type":"T","data":1}]}`: `expect is "some", and not a number`,
		`{"do":"metric","kind":"sum","name":"n","value":1}`:                                          `kind is "sum", which is none of counter, gauge, histogram`,
		`{"do":"metric","kind":"gauge","name":"n"}`:                                                  "metric needs value, a number",
		`{"do":"` + strings.Repeat("x", stdio.MaxLine) + `"}`:                                        stdio.TooLong,
	} {
		e, err := stdio.Decode([]byte(line))
		if detail := core.AsError(err).Detail; e != nil || !errors.Is(err, core.CodePluginFailed) || !strings.Contains(detail, want) {
			t.Errorf("%.100s: got %v, want %q", line, err, want)
		}
	}
}

// many are events to append.
func many(n int) string {
	return strings.Repeat(`{"type":"T","data":1},`, n-1) + `{"type":"T","data":1}`
}

// The events of a line are decoded one by one: a line of empty events needs no more memory than itself.
func TestDecodeAllocatesLittle(t *testing.T) {
	line := []byte(`{"do":"append","position":1,"stream":"s","events":[` + strings.Repeat(`{},`, 500_000) + `{}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = stdio.Decode(line)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(line)) {
		t.Errorf("a line of %d bytes needed %d", len(line), n)
	}
}

// What Decode accepts is an effect whose events can be decoded; what it refuses is plugin_failed.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"do":"append","position":7,"stream":"s","expect":"any","events":[{"type":"T","data":{"a":[1,"\u00e4"]},"metadata":{}},{"type":"U","dataBase64":"AP8="}]}`,
		`{"do":"put","position":1,"key":"k","value":{"a":null}}`, `{"do":"put","position":1,"key":"k","valueBase64":"YQ=="}`,
		`{"do":"delete","position":1,"key":"k"}`, `{"do":"ack","position":1}`, `{"do":"skip","position":1}`,
		`{"do":"park","position":1,"reason":"r"}`, `{"do":"retry","position":1,"delayMs":5,"reason":"r"}`,
		`{"do":"log","level":"warn","text":"t"}`, `{"do":"metric","kind":"gauge","name":"n","value":1e3}`,
		`{"position":1,"do":"ack","position":2}`, "{\"do\":\"log\",\"text\":\"\xff\"}", `{"do":{}}`, `[`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := stdio.Decode(line)
		if err != nil {
			if !errors.Is(err, core.CodePluginFailed) || core.AsError(err).Detail == "" {
				t.Errorf("the error is %v", err)
			}
			return
		}
		var out abi.Appended
		for rest := e.Events; len(rest) > 0; {
			if rest, err = abi.NextEvent(rest, &out); err != nil {
				t.Fatal(err)
			}
			if out.Content == abi.ContentJSON && !plugins.IsJSON(out.Data) {
				t.Errorf("the data is %q", out.Data)
			}
		}
	})
}
