package ws

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

func newTestOutbox(t *testing.T, limit int) *outbox {
	t.Helper()
	memory, err := requests.NewMemory(1<<20, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return newOutbox(limit, memory.Account())
}

func TestOutboxJoinsWhatMayBeJoined(t *testing.T) {
	o := newTestOutbox(t, 100)
	o.text([]byte("a"))
	o.text([]byte("b"))
	o.joinText(true)
	o.text([]byte("c"))
	o.frame([]byte("d"), []byte("e"))
	o.frame([]byte("f"), nil)
	o.result(wire.Result{ID: 2, Version: 1, Position: 1})
	o.result(wire.Result{ID: 3, Version: 2, Position: 2})
	var l load
	if !o.take(&l) {
		t.Fatal("nothing there")
	}
	var got []string
	rest := l.arena.B
	for _, e := range l.entries {
		got = append(got, string(rest[:e.n]))
		rest = rest[e.n:]
	}
	if want := "a|b\nc|def\x03\x00\x01\x02\x02\x01\x01"; strings.Join(got, "|") != want {
		t.Errorf("%q, want %q", got, want)
	}
	o.written(&l)

	for i, node := range []string{"b", "", "b"} {
		o.result(wire.Result{ID: uint64(2 + i), Version: 1, Position: uint64(i + 1), Node: node})
	}
	if want := "\x03\x00\x01\x03\x01\x01\x02" + "\x03\x10\x01b\x02\x02\x01\x01\x01\x04\x01\x01\x03"; !o.take(&l) || string(l.arena.B) != want {
		t.Errorf("%q, want %q: a frame for each node", l.arena.B, want)
	}
	o.written(&l)

	block := make([]byte, minBlock)
	o.frame([]byte("g"), nil)
	o.frame([]byte("h"), block)
	o.frame([]byte("i"), nil)
	o.result(wire.Result{ID: 2, Version: 1, Position: 1})
	if !o.take(&l) || len(l.entries) != 3 || &l.entries[1].block[0] != &block[0] || l.entries[2].n != 1+7 {
		t.Errorf("%d messages: the block was copied, or something was joined with it", len(l.entries))
	}
	o.written(&l)
	if o.queued != 0 || o.take(&l) {
		t.Errorf("%d bytes are left", o.queued)
	}
}

func TestOutboxMakesThoseWaitWhoCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newTestOutbox(t, 100)
		o.text([]byte(strings.Repeat("x", 100)))
		var l load
		ended := make(chan error)
		go func() { ended <- o.waitRoom(t.Context()) }()
		synctest.Wait()
		o.take(&l)
		synctest.Wait()
		select {
		case err := <-ended:
			t.Errorf("there was room before anything was written (%v)", err)
		default:
		}
		o.written(&l)
		if err := <-ended; err != nil {
			t.Error(err)
		}

		o.text([]byte(strings.Repeat("x", 100)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := o.waitRoom(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited until %v", err)
		}
		go func() { ended <- o.waitRoom(t.Context()) }()
		synctest.Wait()
		o.close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		o.text([]byte("after the end"))
		if o.queued != 100 {
			t.Error("something was taken in after the end")
		}
	})
}

func TestOutboxKeepsASubThatIsOverSilent(t *testing.T) {
	o := newTestOutbox(t, 100)
	s := &sub{}
	o.subText(s, []byte("1"))
	o.endSub(s)
	o.subText(s, []byte("2"))
	o.subFrame(s, []byte("3"), nil)
	if o.queued != 1 {
		t.Errorf("%d bytes, want 1", o.queued)
	}
}
