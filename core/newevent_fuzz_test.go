package core

import (
	"bytes"
	"testing"
)

func FuzzDecodeNewEvent(f *testing.F) {
	for _, g := range golden {
		f.Add(EncodeNewEvent(nil, &g.e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again NewEvent
		if _, err := DecodeNewEvent(b, &e); err != nil {
			return
		}
		encoded := EncodeNewEvent(nil, &e)
		n, err := DecodeNewEvent(encoded, &again)
		if err != nil || n != len(encoded) {
			t.Fatalf("decoded %d of %d bytes, %v", n, len(encoded), err)
		}
		if again.ID != e.ID || again.Type != e.Type || !again.Time.Equal(e.Time) || again.Format != e.Format ||
			again.ContentType != e.ContentType || !bytes.Equal(again.Data, e.Data) || !bytes.Equal(again.Metadata, e.Metadata) {
			t.Errorf("%+v, then %+v", e, again)
		}
	})
}
