package requests

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

func newTestMemory(t *testing.T, limit int64) *Memory {
	t.Helper()
	m, err := NewMemory(limit, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAccountsShareMemory(t *testing.T) {
	m := newTestMemory(t, 100)
	a, b := m.Account(), m.Account()
	for range 2 { // the allowance is there whatever the others hold
		if !a.Take(Allowance) || !b.Take(Allowance) || m.used.Load() != 0 {
			t.Fatalf("%d are used by what everybody may have", m.used.Load())
		}
		if !a.Take(60) || b.Take(41) || !b.Take(40) || m.used.Load() != 100 {
			t.Errorf("%d of 100 are used", m.used.Load())
		}
		b.Add(10) // an answer
		if m.used.Load() != 110 || b.Take(1) {
			t.Errorf("%d of 100 are used after an answer of 10", m.used.Load())
		}
		b.Give(20)
		if m.used.Load() != 90 || !b.Take(10) {
			t.Errorf("%d of 100 are used after 20 were given back", m.used.Load())
		}
		a.Release()
		b.Release()
		if m.used.Load() != 0 || a.held+a.charged+b.held+b.charged != 0 {
			t.Errorf("%d are used after all was given back", m.used.Load())
		}
	}
}

func TestReservations(t *testing.T) {
	const large = 4 * Allowance
	m := newTestMemory(t, 5*Allowance)
	a, b := m.Account(), m.Account()
	if n := a.Reserve(large); n != large {
		t.Errorf("reserved %d of %d", n, large)
	}
	if n := b.Reserve(large); n != Allowance {
		t.Errorf("reserved %d while there is no room, want %d", n, Allowance)
	}
	if n := m.Piece(large); n != Allowance {
		t.Errorf("a piece of %d", n)
	}
	// One event may be larger than what was reserved.
	if err := b.Settle(Allowance, large); !errors.Is(err, core.CodeOverloaded) || b.held != 0 {
		t.Errorf("settled with %v, %d held", err, b.held)
	}
	if err := a.Settle(large, 10); err != nil || a.held != 10 {
		t.Errorf("settled with %v, %d held", err, a.held)
	}
	if err := b.Settle(0, large); err != nil || b.held != large {
		t.Errorf("settled with %v, %d held", err, b.held)
	}
}

func TestMemoryIsWaitedForInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestMemory(t, 100)
		holder := m.Account()
		holder.Add(Allowance + 100)
		wait := func(n int, waitLimit time.Duration) chan error {
			done := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
				defer cancel()
				a := m.Account()
				a.Add(Allowance)
				done <- a.Wait(ctx, n)
			}()
			synctest.Wait()
			return done
		}
		first, impatient, last := wait(80, time.Hour), wait(90, time.Second), wait(20, time.Hour)
		holder.Give(50)
		synctest.Wait()
		if len(first)+len(impatient)+len(last) != 0 {
			t.Error("somebody had what the first waits for")
		}
		if err := <-impatient; !errors.Is(err, core.CodeOverloaded) || !strings.Contains(err.Error(), "90 bytes") {
			t.Errorf("the wait ended with %v", err)
		}
		holder.Give(50)
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := <-last; err != nil {
			t.Error(err)
		}
		if m.queued.Load() != 0 || m.used.Load() != 100 {
			t.Errorf("%d wait, %d are used", m.queued.Load(), m.used.Load())
		}
	})
}

func TestReadAsksForMemory(t *testing.T) {
	var grown []int
	grow := func(n int) error { grown = append(grown, n); return nil }
	const limit = 5*Allowance + 3
	for _, c := range []struct {
		size  int
		times int
		err   error
	}{{0, 0, nil}, {Allowance - 1, 0, nil}, {Allowance + 1, 1, nil}, {limit, 2, nil}, {limit + 1, 2, ErrTooLarge}} {
		grown = nil
		b, err := Read(strings.NewReader(strings.Repeat("x", c.size)), limit, grow)
		if !errors.Is(err, c.err) || len(grown) != c.times {
			t.Errorf("%d bytes: %v, asked for %v", c.size, err, grown)
		}
		if err != nil {
			continue
		}
		sum := Allowance
		for _, n := range grown {
			sum += n
		}
		if len(b.B) != c.size || cap(b.B) != sum {
			t.Errorf("%d bytes: read %d into %d, had %d", c.size, len(b.B), cap(b.B), sum)
		}
		kept := b.Keep()
		if next, err := Read(strings.NewReader(strings.Repeat("y", c.size)), limit, grow); err != nil || string(kept) != strings.Repeat("x", c.size) {
			t.Errorf("%d bytes that were kept are %.10q, %v", c.size, kept, err)
		} else {
			next.Free()
		}
	}
	refused := errors.New("refused")
	if _, err := Read(strings.NewReader(strings.Repeat("x", limit)), limit, func(int) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
}

// TestMemoryIsShared: what one principal holds, over all its connections, leaves room for others.
// One that waits for its own memory holds up nobody.
func TestMemoryIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shares := newTestMemory(t, 300), NewShares()
		account := func(key string) *Account {
			a := m.Account()
			a.Belong(shares.Of(access.Node(key), ""))
			a.Add(Allowance)
			return &a
		}
		hog := []*Account{account("hog"), account("hog"), account("hog")}
		taken := 0
		for range 100 {
			for _, a := range hog {
				if a.Take(1) {
					taken++
				}
			}
		}
		if taken != 200 {
			t.Errorf("a principal takes %d of 300", taken)
		}
		patient := make(chan error, 1)
		go func() { patient <- hog[0].Wait(t.Context(), 50) }()
		synctest.Wait()
		polite := account("polite")
		if !polite.Take(60) {
			t.Error("there is no room for another principal")
		}
		if err := polite.Wait(t.Context(), 5); err != nil {
			t.Errorf("one that waits for its own memory holds up another: %v", err)
		}
		hog[1].Release()
		hog[2].Release()
		if err := <-patient; err != nil {
			t.Error(err)
		}
		hog[0].Release()
		polite.Belong(shares.Of(access.Node("hog"), ""))
		if n := hog[0].share.bytes.Load(); n != 65 || m.used.Load() != 65 {
			t.Errorf("the principal of an Account that has moved holds %d, in all %d", n, m.used.Load())
		}
		polite.Release()
		if n := hog[0].share.bytes.Load(); n != 0 || m.used.Load() != 0 {
			t.Errorf("%d and %d are left", n, m.used.Load())
		}
	})
}
