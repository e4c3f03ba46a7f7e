package wire_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// BenchmarkCommit encodes and decodes a Commit of an event of 345 bytes for each of 10
// streams, as JSON and as a frame: what a client and a node do for one.
func BenchmarkCommit(b *testing.B) {
	f := wire.CommitFrame{ID: 7}
	data := []byte(`{"order":"` + string(bytes.Repeat([]byte("x"), 330)) + `"}`)
	for i := range 10 {
		f.Commit.Appends = append(f.Commit.Appends, core.Append{Stream: fmt.Sprintf("order-%d", 1000+i), Expect: core.AnyVersion,
			Events: []core.NewEvent{{ID: core.NewID(), Type: "OrderPaid", Data: data}}})
	}
	var text, frame []byte
	run := func(name string, work func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := work(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("encode/json", func() error {
		m, err := wire.NewAppendRequest(f.ID, &f.Commit)
		text = wire.Encode(nil, m)
		return err
	})
	run("encode/binary", func() error {
		frame = wire.AppendCommit(nil, &f)
		return nil
	})
	run("decode/json", func() error {
		_, m, err := wire.DecodeClient(bytes.Clone(text))
		if err != nil {
			return err
		}
		_, err = m.(*wire.AppendRequest).Commit()
		return err
	})
	run("decode/binary", func() error {
		frames := wire.NewFrames(bytes.Clone(frame), wire.Uncompressed, 0)
		return frames.Commit(new(wire.CommitFrame))
	})
}
