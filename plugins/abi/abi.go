package abi

import "unicode/utf8"

// The names of a module's side.
const (
	Module   = "gyre_1"     // the module that imports name
	Stdio    = "stdio_1"    // the ABI of commands, which import nothing of Module
	Marker   = "gyre_abi_1" // an export that says which ABI a module is built for
	Memory   = "memory"
	Start    = "_initialize"
	Main     = "_start" // of a command
	Init     = "gyre_init"
	Handle   = "gyre_handle"
	Filter   = "gyre_filter"
	Map      = "gyre_map"
	Part     = "gyre_partition"
	Validate = "gyre_validate"
	Query    = "gyre_query"
)

// The functions that a module can import from Module.
const (
	BatchRead   = "batch_read"
	EventBegin  = "event_begin"
	EventResult = "event_result"
	Append      = "append"
	StateGet    = "state_get"
	StatePut    = "state_put"
	StateDelete = "state_del"
	StateScan   = "state_scan"
	StreamRead  = "stream_read"
	ConfigGet   = "config_get"
	SecretGet   = "secret_get"
	Log         = "log"
	Metric      = "metric"
	NowMicros   = "now_us"
	Random      = "random"
	HTTP        = "http"
	Fail        = "fail"
)

// JudgeImports are the functions that a filter, a map, a partitioner or a validator may import: it
// judges events, and has no effects.
func JudgeImports() []string {
	return []string{BatchRead, EventBegin, EventResult, ConfigGet, Log, Fail}
}

// Errno is the answer of an import that did not do what it was asked. It is negative;
// answers from zero on are lengths or success.
type Errno int32

// The errnos.
const (
	OK          Errno = 0
	Invalid     Errno = -1
	Denied      Errno = -2 // the binding does not grant it
	TooLarge    Errno = -3
	NotFound    Errno = -4
	Quota       Errno = -5
	Closed      Errno = -6
	Conflict    Errno = -7
	IO          Errno = -8
	Unsupported Errno = -9
)

var errnoTexts = [...]string{
	"ok", "invalid argument", "denied", "too large", "not found", "over quota", "closed", "conflict", "input or output failed", "unsupported",
}

func (e Errno) Error() string {
	if e <= 0 && int(-e) < len(errnoTexts) {
		return errnoTexts[-e]
	}
	return "unknown errno"
}

// Verdict is what a handler's call returns about its batch.
type Verdict int32

// The verdicts. A negative one is an error, which the binding's error policy is about.
const (
	Done       Verdict = 0 // the results of the events apply
	RetryBatch Verdict = 1
	ParkBatch  Verdict = 2
	Stop       Verdict = 3
)

// Action is the result of one event.
type Action int32

// The actions. An event without a result is acknowledged. A filter answers Ack to keep an event
// and Skip to drop it. A map and a partitioner answer Ack with the new data or the key of each
// event. All three answer Park with the reason if they cannot judge it. A validator answers Ack to
// accept an event and Park to refuse it.
const (
	Ack   Action = 0
	Retry Action = 1
	Park  Action = 2
	Skip  Action = 3
)

// Expected versions of an append, beside versions from zero on.
const (
	AnyVersion   int64 = -1
	NoStream     int64 = -2
	StreamExists int64 = -3
)

// Level is the level of a log line.
type Level int32

// The levels.
const (
	Debug Level = 0
	Info  Level = 1
	Warn  Level = 2
	Error Level = 3
)

// String is the level as people read it: debug, info, warn or error.
func (l Level) String() string {
	switch {
	case l <= Debug:
		return "debug"
	case l == Info:
		return "info"
	case l == Warn:
		return "warn"
	}
	return "error"
}

// Kind is the kind of a metric.
type Kind int32

// The kinds of metrics.
const (
	Counter   Kind = 0
	Gauge     Kind = 1
	Histogram Kind = 2
)

// CheckKey returns the errno for a key of the state: OK, TooLarge or Invalid.
func CheckKey[T ~string | ~[]byte](key T) Errno {
	switch {
	case len(key) > MaxStateKeyBytes:
		return TooLarge
	case len(key) == 0 || !utf8.ValidString(string(key)):
		return Invalid
	}
	return OK
}

// The limits of one call.
const (
	MaxBatchEvents   = 256
	MaxBatchBytes    = 8 << 20
	MaxStateKeyBytes = 512
	MaxValueBytes    = 256 << 10
	MaxStateWrites   = 4096
	MaxAppended      = 1024
	MaxEffectBytes   = 3584 << 10
	MaxLogBytes      = 64 << 10
	MaxLineBytes     = 4 << 10
	MaxSeries        = 64
	MaxMessageBytes  = 4 << 10
	MaxManifestBytes = 64 << 10
	MaxMappedBytes   = 1 << 20 // of the data that a map makes of an event
	MaxKeyBytes      = 1 << 10 // of a partition key
	MaxQueryBytes    = 64 << 10
	MaxAnswerBytes   = 1 << 20
)
