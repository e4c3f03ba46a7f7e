package delivery

import (
	"testing"
	"time"
)

// TestOneSlowEventCostsNoMemory keeps one event in flight, extended again and again,
// while thousands behind it are extended and acked.
func TestOneSlowEventCostsNoMemory(t *testing.T) {
	r := newRig(DefaultOptions(), 1, 0)
	slow := r.m.subs.all[0]
	for range 2000 {
		r.now = r.now.Add(10 * time.Millisecond)
		o := r.m.Advance(r.now)
		for _, s := range o.Sends {
			r.acks = r.acks[:0]
			for _, d := range s.Events {
				if d.Position > 1 {
					r.acks = append(r.acks, d.Position)
				}
			}
			for _, err := range []error{
				r.m.Extend(r.now, s.Lease, r.acks, time.Hour),
				r.m.Extend(r.now, s.Lease, []uint64{1}, time.Minute),
				r.m.Ack(r.now, s.Lease, r.acks),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := min(20, o.Read.Events); n > 0 {
			r.feed(n)
		}
		if err := r.m.check(); err != nil {
			t.Fatal(err)
		}
	}
	i := r.m.Info(r.now, r.last)
	if i.Totals.Acked < 30_000 || i.InFlight != 1 || i.Checkpoint != 0 {
		t.Fatalf("after all this: %+v", i)
	}
	if sends, timers := slow.sent.len(), len(r.m.timers); sends > 100 || timers > 200 {
		t.Errorf("%d sends and %d timers are remembered", sends, timers)
	}
	if got, bound := r.m.window.entries.len(), spanFactor*r.m.room.Events; got > bound {
		t.Errorf("the window has %d events, the bound is %d", got, bound)
	}
}

// TestRetriesAreBounded has every event back off for an hour: reading stops at the bound,
// Info says so, and reading goes on when some are finished.
func TestRetriesAreBounded(t *testing.T) {
	r := newRig(DefaultOptions(), 1, 0)
	r.m.room.Events = 500
	wait := func() (o Output) {
		for {
			o = r.m.Advance(r.now)
			for _, s := range o.Sends {
				for _, d := range s.Events {
					if err := r.m.Nack(r.now, s.Lease, []uint64{d.Position}, Nack{Action: ActionRetry, Delay: time.Hour}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if o.Store != nil {
				r.m.Stored(r.now, nil)
			}
			if o.Read.Events > 0 {
				r.feed(o.Read.Events)
			} else if len(o.Sends) == 0 && o.Store == nil {
				return o
			}
		}
	}
	wait()
	i := r.m.Info(r.now, r.last)
	if i.Retrying != 500 || r.last != 500 || i.Reason == "" || i.State != CatchUp && i.State != Live {
		t.Fatalf("at the bound: %+v", i)
	}
	r.now = r.now.Add(time.Hour)
	for r.acked < 1000 {
		r.round()
	}
	if i = r.m.Info(r.now, r.last); i.Reason != "" || i.Retrying > 0 {
		t.Errorf("beyond it: %+v", i)
	}
}

// TestHeldKeysAreBounded parks an event of more keys than may be held.
func TestHeldKeysAreBounded(t *testing.T) {
	o := keyed(1)
	o.OnPark = HoldKey
	r := newRig(o, 1, maxHeldKeys+1)
	for i := range r.keys {
		r.last++
		items := []Item{{Position: r.last, Key: r.keys[i], Fault: "none of them can be mapped"}}
		if err := r.m.Feed(items, r.last, true); err != nil {
			t.Fatal(err)
		}
		if stopped := r.m.State() == Stopped; stopped != (i == maxHeldKeys) {
			t.Fatalf("after %d keys the state is %s", i+1, r.m.State())
		}
	}
	for parked := 0; parked < len(r.keys); {
		s := r.m.Advance(r.now).Store
		if s == nil || len(s.Park) == 0 || len(s.Park) > maxStoreParks {
			t.Fatalf("after %d parked: %d are stored", parked, len(s.Park))
		}
		parked += len(s.Park)
		if s.Checkpoint != uint64(parked) {
			t.Fatalf("after %d parked: the checkpoint is %d", parked, s.Checkpoint)
		}
		r.m.Stored(r.now, nil)
	}
	if got := r.m.Info(r.now, r.last).Checkpoint; got != r.last {
		t.Errorf("checkpoint %d, want %d", got, r.last)
	}
}
