package ws

import (
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// BenchmarkAnswer encodes the answer to a Commit to 10 streams as nodes do, and decodes
// it as clients do, as JSON and as a frame.
func BenchmarkAnswer(b *testing.B) {
	r := core.Result{Position: 1234576}
	for i := range uint64(10) {
		r.Appends = append(r.Appends, core.Appended{FirstVersion: 1000 + i, LastVersion: 1000 + i, FirstPosition: 1234567 + i, LastPosition: 1234567 + i})
	}
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
	var text, frame []byte
	run("encode/json", func() error {
		text = appendOK(make([]byte, 0, 128), 7, r, true)
		return nil
	})
	run("encode/binary", func() error {
		frame = wire.AppendCommitted(frame[:0], 7, &r)
		return nil
	})
	run("decode/json", func() error {
		_, err := wire.DecodeServer(text)
		return err
	})
	run("decode/binary", func() error {
		frames := wire.NewFrames(frame, wire.Uncompressed, 0)
		_, _, err := frames.Committed()
		return err
	})
}
