//go:build !race

package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/sdk/plugin/testhost"
)

// event is an event of a batch, or of a stream that a guest can read.
type event struct {
	Position   uint64   `json:"position,omitempty"` // 0 is its place, from 1 on
	Version    uint64   `json:"version,omitempty"`  // the same
	TimeMicros int64    `json:"timeMicros,omitempty"`
	ID         string   `json:"id,omitempty"` // in hex, without dashes
	Attempt    uint32   `json:"attempt,omitempty"`
	Flags      abi.Flag `json:"flags,omitempty"`
	Stream     string   `json:"stream,omitempty"` // s if empty
	Type       string   `json:"type,omitempty"`   // Script if empty
	Script     []string `json:"script,omitempty"` // the lines of the data
	Metadata   string   `json:"metadata,omitempty"`
}

// hosted is what the host has.
type hosted struct {
	State   map[string]string  `json:"state,omitempty"`
	Config  string             `json:"config,omitempty"`
	Secrets map[string]string  `json:"secrets,omitempty"`
	Streams map[string][]event `json:"streams,omitempty"`
	HTTP    map[string]string  `json:"http,omitempty"` // responses, by request
	// Answers are errnos that imports answer, whatever they are asked.
	Answers map[string]abi.Errno `json:"answers,omitempty"`
}

// repeated is a piece of a text that stands for itself many times, such as {k*513}.
var repeated = regexp.MustCompile(`\{(.)\*(\d+)\}`)

// expand writes repeated pieces out.
func expand(text string) string {
	return repeated.ReplaceAllStringFunc(text, func(piece string) string {
		parts := repeated.FindStringSubmatch(piece)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
}

// short is a text, or its length and checksum if it is long.
func short(text string) string {
	if len(text) > 256 {
		return fmt.Sprintf("%d bytes, CRC-32 %08x", len(text), crc32.ChecksumIEEE([]byte(text)))
	}
	return text
}

func (e *event) encoded(t *testing.T, index int) abi.Event {
	t.Helper()
	out := abi.Event{
		Position: e.Position, Version: e.Version, TimeMicros: e.TimeMicros, Attempt: max(e.Attempt, 1), Flags: e.Flags,
		Stream: []byte(e.Stream), Type: []byte(e.Type), Data: []byte(expand(strings.Join(e.Script, "\n"))), Metadata: []byte(e.Metadata),
	}
	if e.Position == 0 {
		out.Position = uint64(index + 1)
	}
	if e.Version == 0 {
		out.Version = uint64(index + 1)
	}
	if e.Stream == "" {
		out.Stream = []byte("s")
	}
	if e.Type == "" {
		out.Type = []byte("Script")
	}
	if e.ID == "" {
		binary.BigEndian.PutUint64(out.ID[8:], out.Position)
	} else if _, err := hex.Decode(out.ID[:], []byte(e.ID)); err != nil {
		t.Fatal(err)
	}
	return out
}

func encodedAll(t *testing.T, events []event) (list []abi.Event) {
	for i := range events {
		list = append(list, events[i].encoded(t, i))
	}
	return list
}

// memoryBytes is less than what the events of a case need together, if nothing of it is freed.
const memoryBytes = 128 << 20

// run hands the batch of a case to a new instance, and returns what it did.
func run(t *testing.T, program *wasm.Program, c *conformanceCase) effect {
	t.Helper()
	h := newHost(t, c)
	config := wasm.Config{Limits: wasm.MaxLimits(), Effects: h, Reads: h, Output: h}
	config.Limits.MemoryBytes = memoryBytes
	instance, err := program.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer instance.Close()
	got := effect{Results: map[int]result{}}
	verdict, _, err := instance.Call(t.Context(), h.batch(t, c))
	var trap *wasm.Trap
	switch {
	case errors.As(err, &trap):
		verdict = -1
	case err != nil:
		t.Fatal(err)
	}
	got.Verdict = verdict
	for i, r := range h.Results {
		got.Results[i] = result{r.Action, r.DelayMs, short(r.Message)}
	}
	for _, a := range h.Appended {
		got.Appended = append(got.Appended, appended{a.Event, a.Stream, a.Expected, a.Type, short(a.Data), a.Metadata, a.Binary})
	}
	for _, w := range h.Writes {
		got.Writes = append(got.Writes, write{w.Event, short(w.Key), short(w.Value), w.Deleted})
	}
	for _, l := range h.Logs {
		got.Logs = append(got.Logs, [...]string{"debug", "info", "warn", "error"}[l.Level]+" "+short(l.Text))
	}
	got.Metrics = h.Metrics
	if len(got.Results) == 0 {
		got.Results = nil
	}
	return got
}

// host is a host in memory that answers errnos where a case says so.
type host struct {
	*testhost.Host
	answers map[string]abi.Errno
	events  []abi.Event
}

func newHost(t *testing.T, c *conformanceCase) *host {
	h := &host{Host: &testhost.Host{State: map[string]string{}, Config: c.Host.Config, Secrets: c.Host.Secrets, Streams: map[string][]abi.Event{}}, answers: c.Host.Answers}
	for key, value := range c.Host.State {
		h.State[expand(key)] = expand(value)
	}
	for name, events := range c.Host.Streams {
		h.Streams[name] = encodedAll(t, events)
	}
	if c.Host.HTTP != nil {
		h.Host.HTTP = func(request []byte) ([]byte, abi.Errno) {
			response, ok := c.Host.HTTP[string(request)]
			if !ok {
				return nil, abi.IO
			}
			return []byte(expand(response)), abi.OK
		}
	}
	h.events = encodedAll(t, c.Events)
	h.Reset(h.events)
	return h
}

// batch is the batch of a case, or its query.
func (h *host) batch(t *testing.T, c *conformanceCase) []byte {
	t.Helper()
	if len(c.Query) > 0 {
		return []byte(expand(strings.Join(c.Query, "\n")))
	}
	var w abi.BatchWriter
	now := int64(0)
	if n := len(h.events); n > 0 {
		now = h.events[n-1].TimeMicros
	}
	w.Reset(now, 1, 0)
	for i := range h.events {
		if err := w.Add(&h.events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if c.Later {
		return later(w.Bytes())
	}
	return w.Bytes()
}

// later is a batch as a later version writes it: header, fixed parts and entries have 8 bytes more.
func later(batch []byte) []byte {
	const header, fixed, more = 32, 64, 8
	grown := func(part []byte, at, length int) []byte {
		out := append(append([]byte{}, part[:at]...), strings.Repeat("\xee", more)...)
		out = append(out, part[at:]...)
		binary.LittleEndian.PutUint16(out[length:], uint16(at+more))
		return out
	}
	out := grown(batch[:header], header, 6)
	for rest := batch[header:]; len(rest) > 0; {
		size := binary.LittleEndian.Uint32(rest)
		entry := append(grown(rest[:size], fixed, 4), strings.Repeat("\xee", more)...)
		binary.LittleEndian.PutUint32(entry, size+2*more)
		out = append(out, entry...)
		rest = rest[size:]
	}
	binary.LittleEndian.PutUint32(out[12:], uint32(len(out)))
	return out
}

// effect begins the event of an effect, unless the import answers an errno.
func (h *host) effect(event int, name string) abi.Errno {
	if e := h.answers[name]; e != abi.OK {
		return e
	}
	if h.Current() != event {
		h.Begin(event)
	}
	return abi.OK
}

func (h *host) Result(event int, action abi.Action, delay time.Duration, message []byte) abi.Errno {
	h.Host.Result(event, action, uint32(delay.Milliseconds()), string(message))
	return abi.OK
}

func (h *host) Append(event int, stream []byte, expected int64, events []byte) abi.Errno {
	if e := h.effect(event, abi.Append); e != abi.OK {
		return e
	}
	return h.Host.Append(string(stream), expected, events)
}

func (h *host) Put(event int, key, value []byte) abi.Errno {
	if e := h.effect(event, abi.StatePut); e != abi.OK {
		return e
	}
	return h.Host.Put(string(key), value)
}

func (h *host) Delete(event int, key []byte) abi.Errno {
	if e := h.effect(event, abi.StateDelete); e != abi.OK {
		return e
	}
	return h.Host.Delete(string(key))
}

// or is what get returns, unless the import answers an errno.
func (h *host) or(name string, get func() ([]byte, abi.Errno)) ([]byte, abi.Errno) {
	if e := h.answers[name]; e != abi.OK {
		return nil, e
	}
	return get()
}

func (h *host) Get(key []byte) ([]byte, abi.Errno) {
	return h.or(abi.StateGet, func() ([]byte, abi.Errno) { return h.Host.Get(string(key)) })
}

func (h *host) Scan(prefix, after []byte, limit, size int) ([]byte, abi.Errno) {
	return h.or(abi.StateScan, func() ([]byte, abi.Errno) { return h.Host.Scan(string(prefix), string(after), limit, size) })
}

func (h *host) ReadStream(stream []byte, from int64, limit int) ([]byte, abi.Errno) {
	return h.or(abi.StreamRead, func() ([]byte, abi.Errno) { return h.Host.ReadStream(string(stream), from, limit) })
}

func (h *host) Config(name []byte) ([]byte, abi.Errno) {
	return h.or(abi.ConfigGet, func() ([]byte, abi.Errno) { return h.ConfigOf(string(name)) })
}

func (h *host) Secret(name []byte) ([]byte, abi.Errno) {
	return h.or(abi.SecretGet, func() ([]byte, abi.Errno) { return h.Host.Secret(string(name)) })
}

func (h *host) HTTP(_ int, request []byte, _ time.Duration) ([]byte, abi.Errno) {
	return h.or(abi.HTTP, func() ([]byte, abi.Errno) { return h.Call(request) })
}

func (h *host) Log(level abi.Level, line []byte) { h.Host.Log(level, string(line)) }

func (h *host) Metric(kind abi.Kind, name []byte, value float64) abi.Errno {
	if e := h.answers[abi.Metric]; e != abi.OK {
		return e
	}
	return h.Host.Metric(kind, string(name), value)
}
