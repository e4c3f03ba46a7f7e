package plugin

import (
	"strings"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// Context is what a handler does things with.
type Context struct {
	host    hostSide // what imports go to outside of a sandbox
	event   Event
	encoded []byte // events to append
	value   []byte // what the host has answered last
}

// Expected versions of a stream, beside versions from 0 on.
const (
	AnyVersion   = abi.AnyVersion
	NoStream     = abi.NoStream     // the stream has no events
	StreamExists = abi.StreamExists // the stream has events
)

// NewEvent is an event to append. Its id is made by the host, the same each time the
// event that it comes of is handled.
type NewEvent struct {
	Type     string
	Data     []byte // JSON, such as a json.Object makes
	Metadata []byte // a JSON object, or empty
	Binary   bool   // Data is not JSON
}

// Append appends an event with JSON data to a stream at any version. The binding has to
// grant append for the stream.
func (c *Context) Append(stream, typ string, data []byte) error {
	return c.AppendTo(stream, AnyVersion, NewEvent{Type: typ, Data: data})
}

// AppendTo appends events to a stream, one after the other, if it is at an expected version when the
// batch is committed. If it is not, the batch is handled again, and AppendTo may return
// ErrConflict at once. It takes 1,024 events in a batch, and 3.5 MiB with all other effects.
func (c *Context) AppendTo(stream string, expected int64, events ...NewEvent) error {
	c.encoded = c.encoded[:0]
	for i := range events {
		e := &events[i]
		encoded := abi.Appended{Type: bytesOf(e.Type), Data: e.Data, Metadata: e.Metadata}
		if e.Binary {
			encoded.Content = abi.ContentBytes
		}
		var err error
		if c.encoded, err = abi.AppendEvent(c.encoded, &encoded); err != nil {
			return err
		}
	}
	return errorOf(c.appendEvents(stream, expected, c.encoded))
}

// ReadStream returns up to limit events of a stream from a version on, at most 256. The binding
// has to grant streams.read. Links to events of streams that it does not grant are passed over. A
// stream without events is ErrNotFound.
func (c *Context) ReadStream(stream string, from uint64, limit int) ([]Event, error) {
	bytes, err := c.read(func(into []byte) int32 { return c.streamRead(stream, int64(from), int32(limit), into) })
	if err != nil {
		return nil, err
	}
	batch, err := abi.OpenBatch(append([]byte(nil), bytes...))
	if err != nil {
		return nil, err
	}
	events := make([]Event, 0, batch.Count)
	for {
		var from abi.Event
		if ok, err := batch.Next(&from); !ok {
			return events, err
		}
		var e Event
		e.set(&from)
		events = append(events, e)
	}
}

// State returns the state of the handler's lane.
func (c *Context) State() State { return State{c} }

// Config returns a member of the binding's configuration, or all of it for an empty name. It is
// missing if the configuration has none.
func (c *Context) Config(name string) json.Value {
	text, err := c.read(func(into []byte) int32 { return c.configGet(name, into) })
	if err != nil {
		return json.Value{}
	}
	return json.Trusted(append([]byte(nil), text...))
}

// Secret returns a secret. The binding has to grant it, and the node has to have it: else it is
// ErrNotFound. In a dry run it is ErrUnsupported.
func (c *Context) Secret(name string) (string, error) {
	value, err := c.read(func(into []byte) int32 { return c.secretGet(name, into) })
	return string(value), err
}

// HTTP sends a request, a JSON object {method, url, headers, bodyBase64}, and returns the response,
// {status, headers, bodyBase64}. The binding has to grant the host and port. If the batch is
// handled again, so is the request, with the same Idempotency-Key. In a dry run, and in a rebuild for
// an event whose appends are held back, it is ErrUnsupported.
func (c *Context) HTTP(request []byte) ([]byte, error) {
	response, err := c.read(func(into []byte) int32 { return c.httpCall(request, into) })
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), response...), nil
}

// Fail ends the batch, which fails with a text.
func (c *Context) Fail(code int32, text string) { c.fail(code, text) }

// Now returns the logical time: when the event was recorded, in UTC.
func (c *Context) Now() time.Time { return time.UnixMicro(c.nowMicros()).UTC() }

// Random fills p with bytes that depend on the binding and the event only.
func (c *Context) Random(p []byte) { c.random(p) }

// Level is the level of a log line.
type Level = abi.Level

// The levels.
const (
	Debug = abi.Debug
	Info  = abi.Info
	Warn  = abi.Warn
	Error = abi.Error
)

// Log logs the lines of a text. A line has at most 4 KiB, and a batch 64 KiB; what is more is cut.
func (c *Context) Log(level Level, text string) {
	for more := true; more; {
		var line string
		line, text, more = strings.Cut(text, "\n")
		if line != "" {
			c.logLine(level, line)
		}
	}
}

// Count adds to a counter. A binding has at most 64 counters, gauges and histograms.
func (c *Context) Count(name string, n float64) error {
	return errorOf(c.metric(abi.Counter, name, n))
}

// Gauge sets a gauge.
func (c *Context) Gauge(name string, value float64) error {
	return errorOf(c.metric(abi.Gauge, name, value))
}

// Observe adds a value to a histogram.
func (c *Context) Observe(name string, value float64) error {
	return errorOf(c.metric(abi.Histogram, name, value))
}

// errorOf returns the error of an answer: none if it is a length or success.
func errorOf(answer int32) error {
	if answer >= 0 {
		return nil
	}
	return abi.Errno(answer)
}

// firstAnswer is room for most answers of the host.
const firstAnswer = 1 << 10

// read returns what the host answers to get, which returns the length of the answer. It is
// valid until the next read.
func (c *Context) read(get func(into []byte) int32) ([]byte, error) {
	if c.value == nil {
		c.value = make([]byte, firstAnswer)
	}
	n := get(c.value)
	if int(n) > len(c.value) {
		c.value = make([]byte, n)
		n = get(c.value)
	}
	if n < 0 {
		return nil, abi.Errno(n)
	}
	return c.value[:n], nil
}
