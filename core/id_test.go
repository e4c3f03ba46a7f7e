package core

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDText(t *testing.T) {
	const text = "0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11"
	id, err := ParseID(text)
	if err != nil || id.String() != text || id[0] != 0x01 || id[15] != 0x11 {
		t.Errorf("%v, %v", id, err)
	}
	if upper, err := ParseID(strings.ToUpper(text)); err != nil || upper != id {
		t.Errorf("upper case: %v, %v", upper, err)
	}
	if b, err := id.AppendText([]byte("id=")); err != nil || string(b) != "id="+text {
		t.Errorf("%q, %v", b, err)
	}
	if b, err := json.Marshal(id); err != nil || string(b) != `"`+text+`"` {
		t.Errorf("%s, %v", b, err)
	}
	var read ID
	if err := json.Unmarshal([]byte(`"`+text+`"`), &read); err != nil || read != id {
		t.Errorf("%v, %v", read, err)
	}
	for _, bad := range []string{
		"", "0", text[1:], text + "0", strings.ReplaceAll(text, "-", ""), "{" + text + "}", "urn:uuid:" + text,
		strings.Replace(text, "-", "_", 1), strings.Replace(text, "a", "g", 1), strings.Replace(text, "01", " 1", 1),
		"0193b6b06-f3e-7cc1-9d2b-5c8f0a2e4d11", ID{}.String(), strings.Repeat("x", 1000),
	} {
		if id, err := ParseID(bad); !errors.Is(err, CodeInvalidEventID) || !id.IsZero() {
			t.Errorf("parse %q: %v, %v, want invalid_event_id", bad, id, err)
		}
	}
}

func TestNewID(t *testing.T) {
	const n = 10_000
	before := time.Now().UnixMilli()
	ids := make([]ID, n)
	for i := range ids {
		ids[i] = NewID()
	}
	after := time.Now().UnixMilli()
	seen := make(map[ID]bool)
	for i, id := range ids {
		if id[6]>>4 != 7 || id[8]>>6 != 0b10 {
			t.Fatalf("%s is not a UUIDv7", id)
		}
		if ms := int64(binary.BigEndian.Uint64(id[:8]) >> 16); ms < before || ms > after {
			t.Fatalf("%s was made at %d ms, between %d and %d", id, ms, before, after)
		}
		if i > 0 && slices.Compare(ids[i-1][:8], id[:8]) > 0 {
			t.Errorf("%s comes after %s", id, ids[i-1])
		}
		seen[id] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d ids are different", len(seen), n)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11")
	f.Add("0193B6B0-6F3E-7CC1-9D2B-5C8F0A2E4D11")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err == nil && (id.String() != strings.ToLower(s) || id.IsZero()) {
			t.Errorf("parse %q: %s", s, id)
		}
	})
}
