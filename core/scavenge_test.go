package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// A scavenge leaves the events of $streams: they say which streams are tombstoned, and nodes
// learn from them. No policy is about them.
func TestScavengeLeavesNotices(t *testing.T) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	for range 3 {
		c := core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}, {Type: "T", Data: []byte("2")}}}}}
		for _, c := range []core.Commit{c, {Streams: []core.StreamOp{{Stream: "a", Expect: core.AnyVersion, Action: core.RemoveStream}}}, c} {
			if _, err := store.Append(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	policy := core.Retention{MaxCount: 1}
	for _, target := range []core.RetentionTarget{{Stream: "$streams"}, {Category: "$streams"}} {
		_, _, err := core.SetRetention(t.Context(), store, core.RetentionPut{Target: target, Retention: policy, Expect: core.AnyVersion})
		if e := (*core.Error)(nil); !errors.As(err, &e) {
			t.Errorf("a policy of %+v: %v", target, err)
		}
	}
	if _, _, err := core.SetRetention(t.Context(), store, core.RetentionPut{Target: core.RetentionTarget{Stream: "a"}, Retention: policy, Expect: core.AnyVersion}); err != nil {
		t.Fatal(err)
	}
	before, err := store.Read(t.Context(), core.ReadRequest{Stream: "$streams"})
	if err != nil || before.Count < 4 {
		t.Fatalf("%d notices, %v", before.Count, err)
	}
	if done, err := store.Scavenge(t.Context(), core.Scavenging{All: true}); err != nil || done.Events == 0 {
		t.Errorf("%+v, %v", done, err)
	}
	after, err := store.Read(t.Context(), core.ReadRequest{Stream: "$streams"})
	if err != nil || after.Count != before.Count || after.First != before.First {
		t.Errorf("%d notices are left of %d, %v", after.Count, before.Count, err)
	}
}

// hooked calls a function after each decision of a scavenge.
type hooked struct {
	*memory.Engine
	decided func()
}

func (h *hooked) Scavenge(ctx context.Context, s core.Scavenging) (core.Scavenged, error) {
	decide := s.Fate
	s.Fate = func(ctx context.Context, e *core.Event) (core.Fate, error) {
		defer h.decided()
		return decide(ctx, e)
	}
	return h.Engine.Scavenge(ctx, s)
}

// TestScavengeWhilePoliciesChange puts a policy after the first decision of a scavenge. What the
// policy shows is there afterwards.
func TestScavengeWhilePoliciesChange(t *testing.T) {
	ofStream, ofCategory := core.RetentionTarget{Stream: "a-1"}, core.RetentionTarget{Category: "a"}
	for name, x := range map[string]struct {
		before, meanwhile core.RetentionPut
		left              int
	}{
		"greater count": {core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 1}}, core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 4}}, 4},
		"no count":      {core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 1}}, core.RetentionPut{Target: ofStream}, 5},
		"greater age": {
			core.RetentionPut{Target: ofCategory, Retention: core.Retention{MaxAge: time.Second}},
			core.RetentionPut{Target: ofCategory, Retention: core.Retention{MaxAge: time.Hour}}, 5,
		},
		"of the category": {core.RetentionPut{Target: ofCategory, Retention: core.Retention{MaxCount: 1}}, core.RetentionPut{Target: ofCategory, Retention: core.Retention{MaxCount: 3}}, 3},
		"laxer than the category's": {
			core.RetentionPut{Target: ofCategory, Retention: core.Retention{MaxCount: 1}},
			core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 3}}, 3,
		},
		"smaller count":     {core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 3}}, core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 1}}, 1},
		"of another stream": {core.RetentionPut{Target: ofStream, Retention: core.Retention{MaxCount: 2}}, core.RetentionPut{Target: core.RetentionTarget{Stream: "b"}, Retention: core.Retention{MaxCount: 1}}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			engine := &hooked{Engine: memory.New()}
			// All is older than a second, and younger than an hour.
			store := core.NewStore(engine, core.StoreConfig{Clock: func() time.Time { return time.Now().Add(time.Minute) }})
			defer store.Close()
			for range 5 {
				if _, err := store.Append(t.Context(), one("a-1")); err != nil {
					t.Fatal(err)
				}
			}
			put := func(p core.RetentionPut) {
				p.Expect = core.AnyVersion
				if _, _, err := core.SetRetention(t.Context(), store, p); err != nil {
					t.Fatal(err)
				}
			}
			put(x.before)
			decisions := 0
			engine.decided = func() {
				if decisions++; decisions == 1 {
					put(x.meanwhile)
				}
			}
			if _, err := store.Scavenge(t.Context(), core.Scavenging{All: true}); err != nil {
				t.Fatal(err)
			}
			page, err := store.Read(t.Context(), core.ReadRequest{Stream: "a-1"})
			if err != nil || page.Count != x.left {
				t.Errorf("%d events, %v, want %d", page.Count, err, x.left)
			}
		})
	}
}

// A scavenge rests for as long as it works. A backup has the same bound, and does not rest.
func TestPace(t *testing.T) {
	const work = 200 * time.Millisecond
	for name, test := range map[string]struct {
		pace func() *core.Pace
		want time.Duration
	}{
		"a scavenge":         {(&core.Scavenging{}).Pace, work},
		"a backup":           {func() *core.Pace { return core.NewPace(0) }, 0},
		"a bounded scavenge": {(&core.Scavenging{BytesPerSecond: 1000}).Pace, time.Second - work},
		"a bounded backup":   {func() *core.Pace { return core.NewPace(1000) }, time.Second - work},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := test.pace()
			time.Sleep(work)
			began := time.Now()
			if err := p.Pay(t.Context(), 1000); err != nil || time.Since(began) != test.want {
				t.Errorf("%s rests for %s, %v, want %s", name, time.Since(began), err, test.want)
			}
		})
	}
}
