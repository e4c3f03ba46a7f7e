package cloudevents_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/cloudevents"
)

// recorded is an event as it is read back.
func recorded(t interface{ Fatal(...any) }, stream string, n *core.NewEvent) core.Event {
	if err := (&core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{*n}}}}).Validate(); err != nil {
		t.Fatal(err)
	}
	at := core.Placement{Stream: stream, Version: 3, Position: 1234, Recorded: 1763892000000001, Incarnation: 1, ID: n.ID}
	var e core.Event
	if _, err := core.DecodeEvent(core.EncodeEvent(nil, at, n), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAppend(t *testing.T) {
	n := core.NewEvent{
		ID: core.ID{1: 1, 15: 7}, Type: "Order \"Placed\"", Time: time.Date(2026, 11, 23, 10, 0, 0, 120000000, time.UTC),
		Data:     []byte(`{"total": 1.50}`),
		Metadata: []byte(`{"correlation_id":"c","causation_id":"d","traceparent":"00-1-2-01","tenant":"a\tb","Upper":"x","nested":{},"n":7,"big":5000000000,"half":1.5,"yes":true,"none":null,"id":"x","type":"y","time":1,"data":"z","sequence":"w","correlationid":"v","":"u","source":"","subject":"who"}`),
	}
	e := recorded(t, "a/b c", &n)
	want := `{"specversion":"1.0","id":"00010000-0000-0000-0000-000000000007","source":"/streams/a%2Fb%20c","subject":"who",` +
		`"type":"Order \"Placed\"","time":"2026-11-23T10:00:00.12Z","sequence":"0000000000001234","partitionkey":"a/b c",` +
		`"recordedtime":"2025-11-23T10:00:00.000001Z","causationid":"d","correlationid":"c","n":7,"traceparent":"00-1-2-01","yes":true,` +
		`"datacontenttype":"application/json","data":{"total": 1.50}}`
	if got := string(cloudevents.Append(nil, &e)); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestDecode(t *testing.T) {
	const head = `{"specversion":"1.0","id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","source":"/streams/s","type":"T"`
	for name, c := range map[string]struct {
		text string
		want core.NewEvent
	}{
		"least":             {`}`, core.NewEvent{Data: []byte("null")}},
		"null data":         {`,"data":null,"datacontenttype":null}`, core.NewEvent{Data: []byte("null")}},
		"number":            {`,"data":1.50}`, core.NewEvent{Data: []byte("1.50")}},
		"a string of JSON":  {`,"data":"x","datacontenttype":"application/json"}`, core.NewEvent{Data: []byte(`"x"`)}},
		"JSON of a kind":    {`,"data":{},"datacontenttype":"application/vnd.x+json"}`, core.NewEvent{Data: []byte(`{}`), ContentType: "application/vnd.x+json"}},
		"JSON, said at all": {`,"data":{},"datacontenttype":"Application/JSON; charset=UTF-8"}`, core.NewEvent{Data: []byte(`{}`)}},
		"text":              {`,"data":"a\nb","datacontenttype":"text/plain"}`, core.NewEvent{Format: core.Bytes, Data: []byte("a\nb"), ContentType: "text/plain"}},
		"bytes":             {`,"data_base64":"AP8=","datacontenttype":"image/png"}`, core.NewEvent{Format: core.Bytes, Data: []byte{0, 255}, ContentType: "image/png"}},
		"bytes of no type":  {`,"data_base64":"AP8="}`, core.NewEvent{Format: core.Bytes, Data: []byte{0, 255}}},
		"bytes of JSON":     {`,"data_base64":"eyJhIjoxfQ==","datacontenttype":"application/json"}`, core.NewEvent{Data: []byte(`{"a":1}`)}},
		"no data of text":   {`,"datacontenttype":"text/plain"}`, core.NewEvent{Format: core.Bytes, ContentType: "text/plain"}},
		"attributes": {`,"time":"2026-11-23T11:00:00+01:00","subject":"who","dataschema":"urn:x","correlationid":"c","n":-5,"yes":false,"sequence":"9","partitionkey":"k","recordedtime":"r"}`,
			core.NewEvent{Data: []byte("null"), Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
				Metadata: []byte(`{"correlation_id":"c","dataschema":"urn:x","n":-5,"subject":"who","yes":false}`)}},
		"a time in small letters": {`,"time":"2026-11-23t10:00:00z"}`, core.NewEvent{Data: []byte("null"), Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}},
		"a leap second":           {`,"time":"1990-12-31T15:59:60-08:00"}`, core.NewEvent{Data: []byte("null"), Time: time.Date(1991, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"what is so anyway":       {`,"subject":"s"}`, core.NewEvent{Data: []byte("null")}},
	} {
		t.Run(name, func(t *testing.T) {
			c.want.Type = "T"
			c.want.ID, _ = core.ParseID("0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11") // the source is the stream's
			got, err := cloudevents.Decode([]byte(head+c.text), "s")
			if len(got.Data) == 0 {
				got.Data = nil
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v\n%+v\nwant\n%+v", err, got, c.want)
			}
		})
	}
}

// TestIdentity takes CloudEvents that have the id or the source in common. What identifies
// them is both.
func TestIdentity(t *testing.T) {
	const uuid = "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"
	decode := func(source, id string) core.NewEvent {
		t.Helper()
		e, err := cloudevents.Decode([]byte(`{"specversion":"1.0","id":"`+id+`","source":"`+source+`","type":"T"}`), "s")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := decode("//example.com/orders", "A-1")
	if first.ID.String() != "0ed08304-f009-503e-bae5-4687d96b5d44" || string(first.Metadata) != `{"cloudevents_id":"A-1","source":"//example.com/orders"}` {
		t.Errorf("%s %s", first.ID, first.Metadata)
	}
	if own := decode("/streams/s", uuid); own.ID.String() != uuid || own.Metadata != nil {
		t.Errorf("%s %s", own.ID, own.Metadata)
	}
	ids := map[core.ID][2]string{}
	for _, c := range [][2]string{
		{"//example.com/orders", "A-1"}, {"//example.com/invoices", "A-1"}, {"//example.com/orders", "A-2"}, {"//example.com/ordersA", "-1"},
		{"/streams/s", uuid}, {"/streams/other", uuid}, {"//example.com/orders", uuid}, {"//example.com/invoices", uuid},
		{"//example.com/orders", strings.ToUpper(uuid)}, {"/streams/s", strings.ToUpper(uuid)}, {"x", "00000000-0000-0000-0000-000000000000"},
	} {
		e := decode(c[0], c[1])
		if other, ok := ids[e.ID]; ok || e.ID.IsZero() {
			t.Errorf("%v has the id %s, as has %v", c, e.ID, other)
		}
		ids[e.ID] = c
		if again := decode(c[0], c[1]); again.ID != e.ID {
			t.Errorf("%v has the id %s and then %s", c, e.ID, again.ID)
		}
		r := recorded(t, "s", &e)
		if text := string(cloudevents.Append(nil, &r)); !strings.HasPrefix(text, `{"specversion":"1.0","id":"`+c[1]+`","source":"`+c[0]+`",`) {
			t.Errorf("%v is read as %s", c, text)
		}
	}
}

func TestDecodeBinary(t *testing.T) {
	h := http.Header{}
	for name, value := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11", "ce-source": "/orders", "ce-type": "T",
		"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80", "ce-quoted": `"a \"b\" \\ %22c%22"`, "ce-plus": "a+b", "ce-time": "2026-11-23T10:00:00Z",
		"Content-Type": "text/plain; charset=latin1", "Accept": "*/*",
	} {
		h.Set(name, value)
	}
	got, err := cloudevents.DecodeBinary(h, []byte{0xe4}, "s")
	want := core.NewEvent{
		ID: got.ID, Type: "T", Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		Format: core.Bytes, ContentType: "text/plain; charset=latin1", Data: []byte{0xe4},
		Metadata: []byte(`{"cloudevents_id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","plus":"a+b","quoted":"a \"b\" \\ \"c\"","source":"/orders","subject":"Euro € 😀"}`),
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%+v\nwant\n%+v", err, got, want)
	}
	h.Set("Content-Type", "application/json")
	if got, err := cloudevents.DecodeBinary(h, nil, "s"); err != nil || string(got.Data) != "null" {
		t.Errorf("no body: %+v, %v", got, err)
	}
	if !cloudevents.IsBinary(h) || cloudevents.IsBinary(http.Header{"Cell": {"x"}}) {
		t.Error("a request is not told from another")
	}
}

func TestRefused(t *testing.T) {
	least := map[string]any{"specversion": "1.0", "id": "1", "source": "x", "type": "T"}
	for name, c := range map[string]struct {
		member string
		value  any
		code   core.Code
		said   string
	}{
		"no version":           {"specversion", nil, core.CodeInvalidRequest, "attribute specversion is missing"},
		"another version":      {"specversion", "0.3", core.CodeInvalidRequest, `specversion is "0.3", not 1.0`},
		"no id":                {"id", nil, core.CodeInvalidRequest, "attribute id is missing"},
		"an empty source":      {"source", "", core.CodeInvalidRequest, "attribute source is missing"},
		"a number for a type":  {"type", 5, core.CodeInvalidRequest, "attribute type cannot be 5"},
		"not a time":           {"time", "yesterday", core.CodeInvalidEventTime, `"yesterday" is not a time`},
		"time zero":            {"time", "0001-01-01T00:00:00Z", core.CodeInvalidEventTime, "out of range"},
		"not a content type":   {"datacontenttype", "a b", core.CodeInvalidContentType, `datacontenttype "a b" is not`},
		"text that is none":    {"datacontenttype", "text/plain", core.CodeInvalidData, `data of content type "text/plain"`},
		"not base64":           {"data_base64", "?", core.CodeInvalidData, "not both"},
		"a name in capitals":   {"myExt", "x", core.CodeInvalidRequest, `attribute name "myExt"`},
		"an object":            {"ext", map[string]any{}, core.CodeInvalidRequest, "attribute ext cannot be {}"},
		"a fraction":           {"ext", 1.5, core.CodeInvalidRequest, "attribute ext cannot be 1.5"},
		"a large number":       {"ext", 1 << 40, core.CodeInvalidRequest, "attribute ext cannot be 1099511627776"},
		"a control character":  {"ext", "a\x00b", core.CodeInvalidRequest, "attribute ext cannot be"},
		"a flag for a subject": {"subject", true, core.CodeInvalidRequest, "attribute subject cannot be true"},
		"a long correlation":   {"correlationid", strings.Repeat("c", 129), core.CodeInvalidMetadata, "at most 128 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			event := maps.Clone(least)
			event["data"] = 1
			if event[c.member] = c.value; c.value == nil {
				delete(event, c.member)
			}
			text, _ := json.Marshal(event)
			_, err := cloudevents.Decode(text, "s")
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.said) {
				t.Errorf("%s: %v, want %s: %s", text, err, c.code, c.said)
			}
			if _, err = cloudevents.DecodeBatch([]byte(`[{"specversion":"1.0","id":"1","source":"x","type":"T"},`+string(text)+`]`), "s"); !errors.Is(err, c.code) || !strings.Contains(err.Error(), "event 1: ") {
				t.Errorf("in a batch: %v", err)
			}
		})
	}
	for _, text := range []string{``, `null`, `[]`, `5`, `{"id":"1","id":"2"}`, `{`, "{\"id\":\"\xff\"}"} {
		if _, err := cloudevents.Decode([]byte(text), "s"); !errors.Is(err, core.CodeInvalidRequest) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for name, values := range map[string][]string{
		"Ce-Ext": {"%zz"}, "Ce-Other": {"%ff"}, "Ce-Twice": {"a", "b"}, "Ce-Datacontenttype": {"text/plain"}, "Ce-Data": {"x"}, "Ce-A-B": {"x"}, "Ce-": {"x"}, "Ce-Nul": {"%00"},
	} {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"x"}, "Ce-Type": {"T"}, name: values}
		if _, err := cloudevents.DecodeBinary(h, nil, "s"); !errors.Is(err, core.CodeInvalidRequest) {
			t.Errorf("header %s: %v: %v", name, values, err)
		}
	}
	h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"x"}, "Ce-Type": {"T"}, "Content-Type": {"application/json"}}
	if _, err := cloudevents.DecodeBinary(h, []byte("{"), "s"); !errors.Is(err, core.CodeInvalidData) {
		t.Errorf("a body that is no JSON: %v", err)
	}
}

// words are strings that an attribute can have, with what needs care in JSON and in
// headers.
var words = rapid.StringOf(rapid.OneOf(rapid.Rune().Filter(printable), rapid.SampledFrom([]rune("%\"\\ +/é€😀<&"))))

var names = rapid.StringMatching(`x[a-z0-9]{0,8}`)

// TestEventsComeBack sends events out as CloudEvents and takes them in again.
func TestEventsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stream := rapid.StringMatching(`[a-z][a-z/% é-]{0,20}`).Draw(t, "stream")
		metadata := map[string]any{}
		for range rapid.IntRange(0, 4).Draw(t, "metadata") {
			key := rapid.OneOf(names, rapid.SampledFrom([]string{"correlation_id", "causation_id", "traceparent", "source", "subject", "dataschema"})).Draw(t, "key")
			metadata[key] = "v" + rapid.StringMatching(`[a-z %"\\é]{0,20}`).Draw(t, "value")
			if key[0] == 'x' {
				metadata[key] = rapid.OneOf(words.AsAny(), rapid.Bool().AsAny(), rapid.Int32().AsAny()).Draw(t, "any")
			}
		}
		if metadata["subject"] == stream {
			delete(metadata, "subject") // the default is not kept
		}
		n := core.NewEvent{
			ID: core.NewID(), Type: "T" + words.Filter(short).Draw(t, "type"),
			Time: time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "time")).UTC(),
		}
		if len(metadata) > 0 {
			n.Metadata = encoded(metadata)
		}
		switch rapid.IntRange(0, 2).Draw(t, "format") {
		case 0:
			n.Data = encoded(rapid.OneOf(words.AsAny(), rapid.Int64().AsAny(), rapid.Just[any](nil), rapid.MapOf(words, words).AsAny()).Draw(t, "data"))
		case 1:
			n.Data, n.ContentType = []byte(`{"a": 1.50}`), "application/vnd.a+json"
		case 2:
			n.Format, n.Data = core.Bytes, rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
			n.ContentType = rapid.SampledFrom([]string{"", "text/plain", "text/plain; charset=latin1", "application/octet-stream"}).Draw(t, "type of it")
		}
		e := recorded(t, stream, &n)
		text := cloudevents.Append(nil, &e)
		back, err := cloudevents.Decode(text, stream)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again := recorded(t, stream, &back)
		if _, foreign := metadata["source"]; !foreign && !sameEvent(&e, &again) {
			t.Fatalf("%+v\nwent as %s\nand came back as\n%+v", e, text, again)
		}
		if rewritten := cloudevents.Append(nil, &again); !bytes.Equal(rewritten, text) {
			t.Fatalf("%+v\nwent as %s\nand is then %s", e, text, rewritten)
		}
	})
}

// TestCloudEventsComeBack takes CloudEvents in, in JSON and in headers alike, and sends
// them out again.
func TestCloudEventsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		event := map[string]any{
			"specversion": "1.0", "id": "i" + words.Draw(t, "id"), "source": "s" + words.Draw(t, "source"),
			"type": "T" + words.Filter(short).Draw(t, "type"), "time": "2026-11-23T10:00:00.5Z",
		}
		for range rapid.IntRange(0, 4).Draw(t, "attributes") {
			event[rapid.OneOf(names, rapid.SampledFrom([]string{"correlationid", "causationid", "traceparent", "subject", "dataschema"})).Draw(t, "name")] = "v" + words.Filter(short).Draw(t, "value")
		}
		h := http.Header{"Content-Type": {"application/json"}}
		for name, value := range event {
			h.Set("ce-"+name, percentEncoded(value.(string)))
		}
		event["data"] = rapid.OneOf(words.AsAny(), rapid.MapOf(words, rapid.Int32()).AsAny()).Draw(t, "data")
		inJSON, err := cloudevents.Decode(encoded(event), "s")
		if err != nil {
			t.Fatal(err)
		}
		inHeaders, err := cloudevents.DecodeBinary(h, encoded(event["data"]), "s")
		if err != nil {
			t.Fatalf("%v: %v", h, err)
		}
		one, other := recorded(t, "s", &inJSON), recorded(t, "s", &inHeaders)
		if !sameEvent(&one, &other) {
			t.Fatalf("%v\nin JSON is\n%+v\nand in headers\n%+v", event, one, other)
		}
		var back map[string]any
		if err := json.Unmarshal(cloudevents.Append(nil, &one), &back); err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{"sequence", "partitionkey", "recordedtime", "datacontenttype"} {
			delete(back, own)
		}
		if _, ok := event["subject"]; !ok && back["subject"] == "s" {
			delete(back, "subject")
		}
		if want, got := encoded(event), encoded(back); !bytes.Equal(want, got) {
			t.Fatalf("%s\ncame back as\n%s", want, got)
		}
	})
}

func printable(r rune) bool { return r >= ' ' && r < 0x7f || r >= 0xa0 && r < 0xd800 }
func short(s string) bool   { return len(s) < 100 }

// encoded is v as JSON, with the keys of objects in order.
func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// percentEncoded is a value as the HTTP binding wants it in a header.
func percentEncoded(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '%' {
			b.WriteString(strings.ToUpper(url.PathEscape(string([]byte{c}))))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// sameEvent compares events by what they mean: metadata as JSON.
func sameEvent(a, b *core.Event) bool {
	x, y := *a, *b
	x.Raw, y.Raw = nil, nil
	var one, other any
	_ = json.Unmarshal(x.Metadata, &one)
	_ = json.Unmarshal(y.Metadata, &other)
	x.Metadata, y.Metadata = nil, nil
	if len(x.Data) == 0 && len(y.Data) == 0 {
		x.Data, y.Data = nil, nil
	}
	return reflect.DeepEqual(one, other) && reflect.DeepEqual(x, y)
}

// FuzzDecode takes any text in JSON, in a batch, and as body and headers. What is taken
// can be encoded again, to the same text.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"x","type":"T","time":"2026-11-23T10:00:00Z","ext":5,"data":{"a":1.50}}`), "a%20b", "application/json")
	f.Add([]byte(`[{"specversion":"1.0","id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","source":"x","type":"T","data_base64":"AP8="}]`), `"q"`, "text/plain")
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"x","type":"T","datacontenttype":"text/plain","data":"x"}`), "%zz", "a b")
	f.Fuzz(func(t *testing.T, text []byte, header, contentType string) {
		h := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {header}, "Ce-Source": {"x"}, "Ce-Type": {"T"}, "Ce-Ext": {header}, "Content-Type": {contentType}}
		var taken []core.NewEvent
		if events, err := cloudevents.DecodeBatch(text, "s"); err == nil {
			taken = append(taken, events...)
		}
		if e, err := cloudevents.Decode(text, "s"); err == nil {
			taken = append(taken, e)
		}
		if e, err := cloudevents.DecodeBinary(h, text, "s"); err == nil {
			taken = append(taken, e)
		}
		for i := range taken {
			c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: taken[i : i+1]}}}
			if c.Validate() != nil {
				continue // the store refuses it
			}
			e := recorded(t, "s", &taken[i])
			text := cloudevents.Append(nil, &e)
			back, err := cloudevents.Decode(text, "s")
			if err != nil {
				t.Fatalf("%+v is encoded as %s, which is refused: %v", e, text, err)
			}
			if again := recorded(t, "s", &back); !sameEvent(&e, &again) {
				t.Fatalf("%+v\nis encoded as %s\nwhich is\n%+v", e, text, again)
			}
		}
	})
}
