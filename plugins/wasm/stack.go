package wasm

import "reflect"

// A guest's native stack starts at 10 kB, doubles when it is full, and ends a guest that
// needs over 50 to 100 MB. wazero keeps it as long as the function that was called.
const (
	// maxIdleStack is how much of it an instance keeps between calls.
	maxIdleStack = 1 << 20
	// instanceBytes is what an instance takes of the host's memory beside that of the guest.
	instanceBytes = maxIdleStack
)

// renewStack gives the entry function a new, small stack. wazero has no way to ask for the
// size of one, but it is the length of a field.
func (in *Instance) renewStack() {
	in.entry = in.module.ExportedFunction(in.program.entry)
	in.native = reflect.ValueOf(in.entry).Elem().FieldByName("stack")
}
