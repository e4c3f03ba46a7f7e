package wasm

import (
	"context"
	"runtime"
	"sync"

	"github.com/tetratelabs/wazero"

	"github.com/gyre-events/gyre/core"
)

// Supported returns nil if native code can be made and run here. Else it returns a
// not_supported error with the reason: another processor or system than wazero compiles for,
// or a system that forbids memory to become executable. Guests are never interpreted, which
// would be 36 to 70 times slower.
func Supported() error { return supported() }

var supported = sync.OnceValue(func() (err error) {
	refuse := func(reason any) error {
		return core.Errorf(core.CodeNotSupported, "plugins cannot run on this machine (%s/%s): %v; run the node on amd64 or arm64, and where the system allows memory to become executable",
			runtime.GOOS, runtime.GOARCH, reason)
	}
	defer func() { // which is how wazero refuses
		if reason := recover(); reason != nil {
			err = refuse(reason)
		}
	}()
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig())
	defer func() { _ = r.Close(ctx) }() // frees memory only
	if _, err := r.CompileModule(ctx, smallest); err != nil {
		return refuse(err)
	}
	return nil
})

// smallest is a module with one empty function.
var smallest = []byte(header + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x0a\x04\x01\x02\x00\x0b")
