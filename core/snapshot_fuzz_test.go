package core

import (
	"bytes"
	"testing"
)

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add("s", "default", []byte{snapshotDeleted})
	for _, g := range golden {
		s := Snapshot{Version: 7, Incarnation: 2, Recorded: fromMicros(1), Type: g.e.Type, Format: g.e.Format, ContentType: g.e.ContentType, Data: g.e.Data, Metadata: g.e.Metadata}
		f.Add("order-1", "k", encodeSnapshot(&s))
	}
	f.Fuzz(func(t *testing.T, stream, kind string, value []byte) {
		s, err := decodeSnapshot(&Record{Key: snapshotKey(stream, kind), Value: value})
		if err != nil || s == nil {
			return
		}
		encoded := encodeSnapshot(s)
		again, err := decodeSnapshot(&Record{Key: snapshotKey(stream, kind), Value: encoded})
		if err != nil || !bytes.Equal(encodeSnapshot(again), encoded) || again.Version != s.Version || again.Type != s.Type || !bytes.Equal(again.Data, s.Data) {
			t.Errorf("%+v, then %+v, %v", s, again, err)
		}
	})
}
