package wasm

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// caller is a recorder that answers calls of other servers.
type caller struct {
	*recorder
	call func(within time.Duration)
}

func (c *caller) HTTP(event int, request []byte, within time.Duration) ([]byte, abi.Errno) {
	c.call(within)
	return []byte("the response"), c.note("http %d %s", event, request)
}

// TestResponsesAreKept: a guest that has no room for a response asks again, and no second call is
// made. Another request, or the same one after that, is a call.
func TestResponsesAreKept(t *testing.T) {
	b := &built{data: []byte("ab")}
	call := imports(b, abi.HTTP, abi.EventBegin, abi.Log)
	var code []byte
	for _, c := range []struct{ at, room int }{{0, 4}, {0, 100}, {0, 100}, {1, 4}, {0, 100}} {
		code = slices.Concat(code, call(abi.HTTP, c.at, 1, 64, c.room), []byte{opDrop}, call(abi.Log, 1, 64, 12))
	}
	code = slices.Concat(call(abi.EventBegin, 0), []byte{opDrop}, code, []byte{opI32Const, 0})
	p := load(t, handler(b, code...))
	r := &caller{recorder: &recorder{}, call: func(time.Duration) {}}
	config := r.config()
	config.Reads = r
	if verdict, _, err := start(t, p, config).Call(t.Context(), batchOf(t, 1)); err != nil || verdict != abi.Done {
		t.Fatal(verdict, err)
	}
	var calls []string
	for _, line := range r.lines {
		if line[0] == 'h' {
			calls = append(calls, line)
		}
	}
	if want := []string{"http 0 a", "http 0 a", "http 0 b", "http 0 a"}; !slices.Equal(calls, want) || r.lines[2] != "log 1 the response" {
		t.Errorf("calls %q, all %q", calls, r.lines)
	}
}

// TestCallsTakeTheTimeOfTheBatch, and no slot: others run meanwhile.
func TestCallsTakeTheTimeOfTheBatch(t *testing.T) {
	b := &built{data: []byte("a")}
	call := imports(b, abi.HTTP)
	module := handler(b, append(call(abi.HTTP, 0, 1, 64, 100), opDrop, opI32Const, 0)...)
	h := NewHost(DefaultMemory)
	now := time.Unix(0, 0)
	h.now = func() time.Time { return now }
	p := loadOn(t, h, module)
	took := time.Duration(0)
	r := &caller{recorder: &recorder{}}
	r.call = func(within time.Duration) {
		if within != time.Second {
			t.Errorf("the call may take %v", within)
		}
		for range cap(h.slots) {
			if err := h.enter(t.Context()); err != nil { // nobody else runs
				t.Error(err)
			}
		}
		for range cap(h.slots) {
			h.leave()
		}
		now = now.Add(took)
	}
	config := r.config()
	config.Reads = r
	if verdict, _, err := start(t, p, config).Call(t.Context(), batchOf(t, 1)); err != nil || verdict != abi.Done {
		t.Fatal(verdict, err)
	}
	took = time.Second + 1
	_, _, err := start(t, p, config).Call(t.Context(), batchOf(t, 1))
	wantTrap(t, err, TimedOut)

	took = 0
	ctx, cancel := context.WithCancel(t.Context())
	r.call = func(time.Duration) { cancel() }
	_, _, err = start(t, p, config).Call(ctx, batchOf(t, 1))
	wantTrap(t, err, Canceled)
}
