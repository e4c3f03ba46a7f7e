package wasm

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/gyre-events/gyre/plugins/wasm/guests"
)

// What the parser accepts, wazero compiles with the meter.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "abc", "a longer choice of things that a module can have", "\x05\x03\x02\x01\x07\x06\x05\x04\x03\x02\x01"} {
		f.Add(generate([]byte(seed)))
	}
	for _, modules := range []map[string][]byte{endless(), bombs, {"C": guests.Totals, "hostile": guests.Hostile}} {
		for _, module := range modules {
			if len(module) < 4096 {
				f.Add(module)
			}
		}
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, runtimeConfig())
	f.Cleanup(func() { rt.Close(ctx) })
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) > 64<<10 {
			return
		}
		m, err := Parse(module)
		if err != nil {
			return
		}
		compiled, err := rt.CompileModule(ctx, m.Meter())
		if err != nil {
			t.Fatalf("accepted, but not compiled: %v\n%x", err, m.Meter())
		}
		compiled.Close(ctx)
	})
}

// A metered module computes what it computes without the meter, for the same fuel each time.
func FuzzMeter(f *testing.F) {
	f.Add([]byte("some choices"))
	f.Add([]byte("\x04\x01\x02\x03\x05\x05\x05\x02\x02\x02\x0a\x08\x07\x06\x05\x04\x03\x02\x01\x00\x0b\x09"))
	f.Fuzz(checkMetered)
}
