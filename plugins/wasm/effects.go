package wasm

import (
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// Effects stages what a guest does with a batch. The sandbox checks arguments and limits
// before it calls, and calls from one goroutine at a time. Slices point into the memory of
// the guest, which are valid until the method returns.
type Effects interface {
	// Result is the result of an event. The message explains a retry or a park, or is the
	// value of a map or a partition.
	Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno
	// Append stages events, as abi.NextEvent decodes them, as outputs of an event.
	Append(event int, stream []byte, expected int64, events []byte) abi.Errno
	// Put and Delete stage a change of the binding's state.
	Put(event int, key, value []byte) abi.Errno
	Delete(event int, key []byte) abi.Errno
}

// Reads answers what a guest asks. State includes what Effects has staged. What it returns
// must not change during the call.
type Reads interface {
	Get(key []byte) ([]byte, abi.Errno)
	// Scan returns up to limit entries of at most size bytes, in the order of their keys,
	// each as u32 key length, u32 value length, key, value.
	Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno)
	// ReadStream returns a batch of up to limit events from a version on.
	ReadStream(stream []byte, from int64, limit int) ([]byte, abi.Errno)
	Config(key []byte) ([]byte, abi.Errno)
	Secret(key []byte) ([]byte, abi.Errno)
	HTTP(request []byte) ([]byte, abi.Errno)
}

// Output takes what a guest reports about itself.
type Output interface {
	// Log takes one line without control characters, of at most abi.MaxLineBytes.
	Log(level abi.Level, line []byte)
	Metric(kind abi.Kind, name []byte, value float64) abi.Errno
}
