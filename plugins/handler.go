package plugins

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// Program is a version that is ready to run. It is safe for concurrent use.
type Program interface {
	// New starts a Handler. A program that fails to start is a *Failure.
	New(ctx context.Context, c Connection) (Handler, error)
	// Close frees the program. Its handlers are closed before.
	Close() error
}

// Connection is what a Handler is connected to. All of it is required.
type Connection struct {
	Limits  Limits
	Seed    [32]byte // of randomness: of the binding and generation
	Effects Effects
	Reads   Reads
	Output  Output
}

// Handler handles the batches of one lane. It is used by one goroutine at a time, and may
// keep what it likes in memory between batches. The host closes it, and goes on with a new
// one, after every batch whose effects were not committed.
type Handler interface {
	// Handle handles a batch, which abi.OpenBatch reads and which does not change during
	// the call. It stages effects, and returns its verdict and the fuel that it used. A
	// handler that crashes, or runs over its limits, is a *Failure. After a verdict other
	// than Done, or an error, the Handler is only closed.
	Handle(ctx context.Context, batch []byte) (verdict abi.Verdict, fuel int64, err error)
	// MemoryBytes is how much memory the handler has, as far as that is known.
	MemoryBytes() int64
	// Close frees the handler. It may be called more than once.
	Close()
}

// Failure is the error of a handler that did not return a verdict.
type Failure struct {
	Reason string // a few words, such as "out of fuel"
	Detail string // what the handler, or its runtime, says
	Stack  string // its functions, innermost first; may be empty
	// Permanent says that the same batch fails the same way, so that it is not tried
	// again: the handler said so, or it broke the contract.
	Permanent bool
	// Late says that its time was over, however little of it the handler could run.
	Late bool
	// Limit says that it has used more fuel, time or memory than its binding allows.
	Limit bool
}

func (f *Failure) Error() string {
	text := "plugin " + f.Reason
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	return text
}

// Effects stages what a handler does with a batch. Events are named by their index in the
// batch, and indexes only rise. Slices belong to the handler again when a method returns. It is
// Effects that checks arguments, and holds a batch to the limits of abi.
type Effects interface {
	// Begin says that the handler has begun an event: what it logs from now on is about that one.
	Begin(event int)
	// Result is the result of an event. The message explains a retry or a park.
	Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno
	// Append stages events, as abi.NextEvent decodes them, as outputs of an event.
	Append(event int, stream []byte, expected int64, events []byte) abi.Errno
	// Put and Delete stage a change of the lane's state.
	Put(event int, key, value []byte) abi.Errno
	Delete(event int, key []byte) abi.Errno
}

// Reads answers what a handler asks. State includes what Effects has staged. What it
// returns must not be changed, and is valid until the next call.
type Reads interface {
	Get(key []byte) ([]byte, abi.Errno)
	// Scan returns up to limit entries of at most size bytes, in the order of their keys,
	// each as u32 key length, u32 value length, key, value.
	Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno)
	// ReadStream returns a batch of up to limit events from a version on, without those that
	// are not granted.
	ReadStream(stream []byte, from int64, limit int) ([]byte, abi.Errno)
	Config(key []byte) ([]byte, abi.Errno)
	Secret(key []byte) ([]byte, abi.Errno)
	// HTTP calls another server for an event, and waits for no longer than within.
	HTTP(event int, request []byte, within time.Duration) ([]byte, abi.Errno)
}

// Output takes what a handler reports about itself.
type Output interface {
	// Log takes one line without control characters, of at most abi.MaxLineBytes.
	Log(level abi.Level, line []byte)
	Metric(kind abi.Kind, name []byte, value float64) abi.Errno
}
