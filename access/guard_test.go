package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
)

// guarded is a store with events of order-1, billing-1 and, by links, both in mixed-1.
type guarded struct {
	access.Guard
	subs  access.SubscriptionGuard
	owner *subscriptions.Owner
	store *core.Store
	admin context.Context
	ids   map[string]core.ID
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	owner, err := subscriptions.New(subscriptions.Config{Store: store, Compile: expression.NewCompiler().Compile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(owner.Close(context.Background()), store.Close()); err != nil {
			t.Error(err)
		}
	})
	g := &guarded{Guard: access.NewGuard(store), subs: access.NewSubscriptionGuard(owner, store, nil, nil), owner: owner, store: store, ids: map[string]core.ID{}}
	g.admin = access.With(t.Context(), &access.Principal{Name: "root", Role: access.Admin})
	for _, stream := range []string{"order-1", "billing-1"} {
		for n := range 3 {
			id := core.NewID()
			g.ids[fmt.Sprint(stream, n)] = id
			g.append(t, core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: []core.NewEvent{{ID: id, Type: "T", Data: []byte("{}")}}}}})
		}
	}
	g.append(t, core.Commit{Appends: []core.Append{{Stream: "mixed-1", Expect: core.AnyVersion, Links: []core.ID{g.ids["order-10"], g.ids["billing-10"], g.ids["order-11"]}}}})
	return g
}

func (g *guarded) append(t *testing.T, c core.Commit) {
	t.Helper()
	if _, err := g.Append(g.admin, c); err != nil {
		t.Fatal(err)
	}
}

// as is a context of a principal.
func as(t *testing.T, role access.Role, streams ...string) context.Context {
	return access.With(t.Context(), &access.Principal{Name: "k1", Role: role, Streams: streams})
}

func streamsOf(b core.Batch) (names []string) {
	for e := range b.Events() {
		if e.Link.Stream != "" {
			e.Stream = e.Link.Stream
		}
		names = append(names, e.Stream)
	}
	return names
}

func TestReadsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	for _, c := range []struct {
		ctx    context.Context
		stream string
		want   []string
		err    core.Code
	}{
		{g.admin, core.All, []string{"order-1", "order-1", "order-1", "billing-1", "billing-1", "billing-1"}, ""},
		{as(t, access.Reader, "order-*"), core.All, []string{"order-1", "order-1", "order-1"}, ""},
		{as(t, access.Reader, "$all"), core.All, []string{"order-1", "order-1", "order-1", "billing-1", "billing-1", "billing-1"}, ""},
		{as(t, access.Reader, "order-*", "mixed-1"), "mixed-1", []string{"order-1", "order-1"}, ""},
		{as(t, access.Reader, "mixed-1"), "mixed-1", nil, ""},
		{as(t, access.Reader, "*"), "mixed-1", []string{"order-1", "billing-1", "order-1"}, ""},
		{as(t, access.Reader, "order-*"), "billing-1", nil, core.CodeForbidden},
		{as(t, access.Writer, "order-*"), core.All, nil, core.CodeForbidden},
		{as(t, access.PluginAuthor, "order-*"), "order-1", nil, core.CodeForbidden},
		{t.Context(), "order-1", nil, core.CodeUnauthenticated},
	} {
		for _, backward := range []bool{false, true} {
			page, err := g.Read(c.ctx, core.ReadRequest{Stream: c.stream, Backward: backward})
			want := slices.Clone(c.want)
			if backward {
				slices.Reverse(want)
			}
			if got := streamsOf(page.Batch); !slices.Equal(got, want) || c.err == "" && err != nil || c.err != "" && !errors.Is(err, c.err) {
				t.Errorf("%s by %s: %v, %v, want %v", c.stream, access.Of(c.ctx).Role, got, err, want)
			}
		}
		f, err := g.Follow(c.ctx, core.FollowRequest{Stream: c.stream})
		if err != nil {
			if c.err == "" || !errors.Is(err, c.err) {
				t.Errorf("a follow of %s by %s: %v", c.stream, access.Of(c.ctx).Role, err)
			}
			continue
		}
		var got []string
		for {
			d, err := f.Next(t.Context(), core.Limit{Events: 2, Bytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, streamsOf(d.Batch)...); d.Live {
				break
			}
		}
		if err := f.Close(); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("a follow of %s by %s: %v, %v, want %v", c.stream, access.Of(c.ctx).Role, got, err, c.want)
		}
	}
}

// What a reader learns about events that it may not read is how many positions a page reaches
// over, as a follow's cursor says.
func TestSelectionsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	reader := as(t, access.Reader, "order-*")
	for category, want := range map[string][]string{"order": {"order-1", "order-1", "order-1"}, "billing": nil, "": {"order-1", "order-1", "order-1"}} {
		page, err := g.Read(reader, core.ReadRequest{Stream: core.All, Select: core.Selection{Category: category}})
		if got := streamsOf(page.Batch); err != nil || !slices.Equal(got, want) || !page.End || page.Scanned != page.Next-1 || page.Scanned != page.Head {
			t.Errorf("%q: %v, next %d, scanned %d, head %d, %v", category, got, page.Next, page.Scanned, page.Head, err)
		}
	}
	page, err := g.Read(reader, core.ReadRequest{Stream: core.All, Select: core.Selection{Filter: core.Filter{Within: []string{"*"}}}})
	if got := streamsOf(page.Batch); err != nil || len(got) != 3 {
		t.Errorf("within all: %v, %v", got, err)
	}
	if _, err := g.Read(reader, core.ReadRequest{Stream: "billing-1", Select: core.Selection{Category: "order"}}); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("another stream: %v", err)
	}
}

func TestCommitsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	writer := as(t, access.Writer, "order-*")
	events := []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte("{}")}}
	for name, c := range map[string]core.Commit{
		"another stream":     {Appends: []core.Append{{Stream: "order-2", Expect: core.AnyVersion, Events: events}, {Stream: "billing-2", Expect: core.AnyVersion, Events: events}}},
		"a check of another": {Appends: []core.Append{{Stream: "order-2", Expect: core.AnyVersion, Events: events}}, Checks: []core.Check{{Stream: "billing-1", Expect: core.StreamExists}}},
		"a link to another":  {Appends: []core.Append{{Stream: "order-2", Expect: core.AnyVersion, Links: []core.ID{g.ids["order-12"], g.ids["billing-12"]}}}},
	} {
		want := core.CodeForbidden
		if len(c.Appends[0].Links) > 0 {
			want = core.CodeEventNotFound
		}
		if _, err := g.Append(writer, c); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		answered := make(chan error, 1)
		g.Submit(writer, c, func(_ core.Result, err error) { answered <- err })
		if err := <-answered; !errors.Is(err, want) {
			t.Errorf("%s, submitted: %v", name, err)
		}
	}
	if _, err := g.store.Read(t.Context(), core.ReadRequest{Stream: "order-2"}); !errors.Is(err, core.CodeStreamNotFound) {
		t.Errorf("a refused Commit has written: %v", err)
	}
	own := core.Commit{Appends: []core.Append{
		{Stream: "order-2", Expect: core.AnyVersion, Events: events},
		{Stream: "order-3", Expect: core.AnyVersion, Links: []core.ID{events[0].ID, g.ids["order-12"]}},
	}}
	if _, err := g.Append(writer, own); err != nil {
		t.Error(err)
	}
	named := access.With(t.Context(), &access.Principal{Role: access.Writer, Streams: []string{"order-*"}, Names: []string{"mine"}})
	moves := core.Commit{Progress: &core.Progress{Name: "theirs", To: 1}}
	if _, err := g.Append(named, moves); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("the progress of another: %v", err)
	}
}

func TestEventsAndLists(t *testing.T) {
	g := newGuarded(t)
	reader := as(t, access.Reader, "order-*")
	if _, err := g.Event(reader, g.ids["order-10"]); err != nil {
		t.Error(err)
	}
	page, err := g.Streams(reader, core.StreamsRequest{Limit: 1})
	if err != nil || len(page.Streams) != 1 || page.Streams[0].Name != "order-1" {
		t.Errorf("listed %v, %v", page, err)
	}
	seen, err := g.Streams(reader, core.StreamsRequest{Within: []string{"*"}, System: true, Totals: true, Sort: core.ByChanged, Details: true})
	if err != nil || len(seen.Streams) == 0 || seen.Total.Streams != uint64(len(seen.Streams)) || seen.Looked != 0 {
		t.Errorf("listed %+v, %v", seen, err)
	}
	for _, s := range seen.Streams {
		if !strings.HasPrefix(s.Name, "order-") {
			t.Errorf("%s is listed", s.Name)
		}
	}
	for name, want := range map[string]core.Code{"order-1": "", "billing-1": core.CodeForbidden, core.All: "", "$audit": core.CodeForbidden} {
		if _, err := g.Streams(reader, core.StreamsRequest{Names: []string{name}}); (want == "") != (err == nil) || err != nil && !errors.Is(err, want) {
			t.Errorf("%s by its name: %v", name, err)
		}
	}
	nothing := as(t, access.Reader)
	if page, err := g.Streams(nothing, core.StreamsRequest{Totals: true}); err != nil || !page.End || page.Total.Streams != 0 {
		t.Errorf("granted no stream: %+v, %v", page, err)
	}
	if _, err := g.ReadLog(reader, 1, core.Limit{}); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("the log: %v", err)
	}
}

func TestSubscriptionsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	define := func(stream string, streams ...string) *subscriptions.Definition {
		d := subscriptions.DefaultDefinition()
		d.Stream, d.Filter.Streams = stream, streams
		return &d
	}
	reader := as(t, access.Reader, "order-*", "mixed-*")
	for name, c := range map[string]struct {
		d   *subscriptions.Definition
		err core.Code
	}{
		"own":       {define("order-1"), ""},
		"filtered":  {define(core.All, "order-1*"), ""},
		"other":     {define("billing-1"), core.CodeForbidden},
		"all":       {define(core.All), core.CodeForbidden},
		"too-wide":  {define(core.All, "order-*", "*"), core.CodeForbidden},
		"link-own":  {define("mixed-1"), ""},
		"no-create": {nil, core.CodeSubscriptionNotFound},
	} {
		r := subscriptions.JoinRequest{Name: name, Definition: c.d}
		s, err := g.subs.Join(reader, r)
		if c.err == "" && err != nil || c.err != "" && !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
		if err == nil {
			s.Leave(true)
		}
	}
	if _, _, err := g.subs.Put(g.admin, "all", define(core.All)); err != nil {
		t.Fatal(err)
	}
	if _, err := g.subs.Join(reader, subscriptions.JoinRequest{Name: "all", Definition: define("order-1"), AnyOptions: true}); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("joined as it is: %v", err)
	}
	if err := g.subs.Pause(reader, "own"); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("a reader steers: %v", err)
	}
	if _, err := g.subs.List(reader, subscriptions.ListRequest{}); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("a reader lists: %v", err)
	}
}

// TestOnlyWhoFetchedAnswers: a lease is found again by the key that it was given to. Another one,
// an admin's included, cannot ack, park or hold what it did not fetch.
func TestOnlyWhoFetchedAnswers(t *testing.T) {
	g := newGuarded(t)
	key := func(name string) context.Context {
		return access.With(t.Context(), &access.Principal{Name: name, Role: access.Reader, Streams: []string{"order-*"}})
	}
	fetch := subscriptions.JoinRequest{Name: "orders", Detached: true, Wait: time.Minute, Definition: new(subscriptions.DefaultDefinition())}
	fetch.Definition.Stream = "order-1"
	fetch.Credit.Events, fetch.Credit.Bytes = 1, 1<<20
	w, err := subscriptions.JoinWaiting(key("k1"), g.subs, fetch)
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20})
	for ; err == nil && d.Count == 0; d, err = w.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20}) {
	}
	if err != nil {
		t.Fatal(err)
	}
	found := subscriptions.JoinRequest{Name: "orders", Lease: d.Lease, Principal: "k1"} // which a client cannot say
	for _, other := range []context.Context{key("k2"), g.admin} {
		if _, err := g.subs.Join(other, found); !errors.Is(err, core.CodeLeaseLost) {
			t.Errorf("%s finds the lease of k1: %v", access.Of(other).Name, err)
		}
	}
	again, err := g.subs.Join(key("k1"), found)
	if err != nil {
		t.Fatal(err)
	}
	if err := subscriptions.Do(t.Context(), again, subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{d.First}}); err != nil {
		t.Error(err)
	}
}

// TestLinkedEventsEndASubscriber: the second event of mixed-1 is of billing-1. It is given back,
// for somebody who may read it.
func TestLinkedEventsEndASubscriber(t *testing.T) {
	g := newGuarded(t)
	d := subscriptions.DefaultDefinition()
	d.Stream = "mixed-1"
	join := subscriptions.JoinRequest{Name: "mixed", Definition: &d}
	join.Credit.Events, join.Credit.Bytes = 1, 1<<20
	take := func(ctx context.Context) (id core.ID, attempt uint64, err error) {
		w, err := subscriptions.JoinWaiting(ctx, g.subs, join)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Leave(true)
		for {
			got, err := w.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20})
			if err != nil || got.Count > 0 {
				for e := range got.Events() {
					id, attempt = e.ID, got.Attempts[0]
					err = errors.Join(err, w.Do(t.Context(), subscriptions.Answer{Kind: subscriptions.Ack, Positions: []uint64{e.Position}}))
				}
				return id, attempt, err
			}
		}
	}
	reader := as(t, access.Reader, "order-*", "mixed-*")
	if id, _, err := take(reader); err != nil || id != g.ids["order-10"] {
		t.Fatalf("took %v, %v", id, err)
	}
	if id, _, err := take(reader); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("took %v, %v, want forbidden", id, err)
	}
	if id, _, err := take(g.admin); err != nil || id != g.ids["billing-10"] {
		t.Errorf("the event was not given back: %v, %v", id, err)
	}
}

// TestFetchOfALinkCreatesNothing: the second event of mixed-1 is of billing-1. A fetch that would be
// sent it is refused before its subscription is created, and says where the link is.
func TestFetchOfALinkCreatesNothing(t *testing.T) {
	g := newGuarded(t)
	reader := as(t, access.Reader, "order-*", "mixed-*")
	fetch := subscriptions.JoinRequest{Name: "mixed", Detached: true, Definition: new(subscriptions.DefaultDefinition())}
	fetch.Definition.Stream = "mixed-1"
	fetch.Credit.Events, fetch.Credit.Bytes = 10, 1<<20
	_, err := g.subs.Join(reader, fetch)
	if !errors.Is(err, core.CodeForbidden) || !strings.Contains(err.Error(), "version 2 of mixed-1, at position 8, is a link") || strings.Contains(err.Error(), "billing") {
		t.Errorf("a fetch that comes to a link: %v", err)
	}
	if _, err := g.owner.DefinitionOf(g.admin, "mixed"); !errors.Is(err, core.CodeSubscriptionNotFound) {
		t.Errorf("the refused fetch has created a subscription: %v", err)
	}

	// What it may read before that, after that, and where there is nothing, it gets.
	one, rest, none := fetch, fetch, fetch
	one.Name, one.Credit.Events = "one", 1
	rest.Name, rest.Definition = "rest", new(*fetch.Definition)
	rest.Definition.From = core.From{Kind: core.AfterVersion, N: 2}
	none.Name, none.Definition = "none", new(*fetch.Definition)
	none.Definition.Stream = "mixed-2"
	for _, may := range []subscriptions.JoinRequest{one, rest, none} {
		s, err := g.subs.Join(reader, may)
		if err != nil {
			t.Fatalf("%s: %v", may.Name, err)
		}
		s.Leave(true)
	}

	// A subscription that is there ends the fetch when the link comes.
	one.Credit.Events = 10
	w, err := subscriptions.JoinWaiting(reader, g.subs, one)
	for d := (subscriptions.Delivery{}); err == nil && d.Count == 0; {
		d, err = w.Next(t.Context(), core.Limit{Events: 10, Bytes: 1 << 20})
	}
	if !errors.Is(err, core.CodeForbidden) || !strings.Contains(err.Error(), "version 2 of mixed-1, at position 8, is a link") {
		t.Errorf("a fetch of a subscription that is there: %v", err)
	}
}

// TestSystemStreamsAreForAdmins: nobody else reads the system's streams, by name or in $all,
// and no client writes them.
func TestSystemStreamsAreForAdmins(t *testing.T) {
	g := newGuarded(t)
	event := core.NewEvent{ID: core.NewID(), Type: "T", Data: []byte("{}")}
	system := core.Commit{System: true, Appends: []core.Append{
		{Stream: "$audit", Expect: core.AnyVersion, Events: []core.NewEvent{event}},
		{Stream: "mixed-1", Expect: core.AnyVersion, Links: []core.ID{event.ID}},
	}}
	if _, err := g.store.Append(t.Context(), system); err != nil {
		t.Fatal(err)
	}
	for _, r := range []core.ReadRequest{{Stream: "$audit"}, {Stream: core.All, System: true}} {
		page, err := g.Read(g.admin, r)
		if err != nil || !slices.Contains(streamsOf(page.Batch), "$audit") {
			t.Errorf("read %+v by an admin: %v, %v", r, streamsOf(page.Batch), err)
		}
		for _, pattern := range []string{"*", "$all", "order-*"} {
			reader := as(t, access.Reader, pattern)
			if _, err := g.Read(reader, r); !errors.Is(err, core.CodeForbidden) {
				t.Errorf("read %+v by a reader of %s: %v", r, pattern, err)
			}
			if _, err := g.Follow(reader, core.FollowRequest{Stream: r.Stream, System: r.System}); !errors.Is(err, core.CodeForbidden) {
				t.Errorf("follow %+v by a reader of %s: %v", r, pattern, err)
			}
		}
	}
	for _, pattern := range []string{"*", "$all"} {
		page, err := g.Read(as(t, access.Reader, pattern), core.ReadRequest{Stream: "mixed-1"})
		if err != nil || page.Count != 3 {
			t.Errorf("links by a reader of %s: %v, %v", pattern, streamsOf(page.Batch), err)
		}
	}
}

// TestNamesOfProgress: a key with names uses the progress of those, and sees no other.
func TestNamesOfProgress(t *testing.T) {
	g := newGuarded(t)
	for _, name := range []string{"mine-1", "mine-2", "theirs"} {
		g.append(t, core.Commit{Progress: &core.Progress{Name: name, To: 1}})
	}
	ctx := access.With(t.Context(), &access.Principal{Role: access.Reader, Streams: []string{"*"}, Names: []string{"mine-*"}})
	page, err := core.ListProgress(ctx, g, core.ProgressRequest{})
	if err != nil || len(page.Progress) != 2 || !page.End {
		t.Errorf("listed %v, %v", page, err)
	}
	if page, err := core.ListProgress(ctx, g, core.ProgressRequest{Limit: 1}); err != nil || len(page.Progress) != 1 || page.End {
		t.Errorf("a page of one is %v, %v", page, err)
	}
	if _, err := core.ReadProgress(ctx, g, "theirs"); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("read: %v", err)
	}
	if err := core.DeleteProgress(ctx, g, "theirs"); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := core.ProgressFrom(ctx, g, core.From{Kind: core.AfterProgress, Progress: "theirs"}); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("a follow from there: %v", err)
	}
	if err := core.DeleteProgress(ctx, g, "mine-1"); err != nil {
		t.Error(err)
	}
}

// TestSnapshotsAreWithinThePatterns: who may append to a stream records and deletes its
// snapshots, who may read it reads them, and nobody reads those of all streams.
func TestSnapshotsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	put := func(ctx context.Context, stream string) error {
		p := core.SnapshotPut{Snapshot: core.Snapshot{Stream: stream, Version: 2, Data: fmt.Appendf(nil, "%q", core.NewID())}}
		_, err := core.RecordSnapshot(ctx, g, p)
		return err
	}
	calls := map[string]func(ctx context.Context, stream string) error{
		"put": put,
		"get": func(ctx context.Context, stream string) error {
			_, err := core.ReadSnapshot(ctx, g, stream, "")
			return err
		},
		"list": func(ctx context.Context, stream string) error {
			_, err := core.ListSnapshots(ctx, g, core.SnapshotsRequest{Stream: stream})
			return err
		},
		"load": func(ctx context.Context, stream string) error {
			_, err := core.Load(ctx, g, core.LoadRequest{Stream: stream})
			return err
		},
		"delete": func(ctx context.Context, stream string) error {
			_, err := core.DeleteSnapshot(ctx, g, stream, "")
			return err
		},
	}
	for role, may := range map[access.Role][]string{
		access.Writer: {"put", "get", "list", "load", "delete"}, access.Reader: {"get", "list", "load"},
		access.Operator: {"get", "list", "load"}, access.PluginAuthor: nil,
	} {
		for _, stream := range []string{"order-1", "billing-1"} {
			if err := put(g.admin, stream); err != nil {
				t.Fatal(err)
			}
			for _, call := range []string{"put", "get", "list", "load", "delete"} {
				var want error
				if stream != "order-1" || !slices.Contains(may, call) {
					want = core.CodeForbidden
				}
				if err := calls[call](as(t, role, "order-*"), stream); !errors.Is(err, want) {
					t.Errorf("%s by a %s, of %s: %v, want %v", call, role, stream, err, want)
				}
			}
		}
	}
	for _, r := range []core.RecordsRequest{{}, {Prefix: "order-1"}, {Ranges: []core.KeyRange{{After: "a", Before: "z"}}}, {Keys: []string{"order-1\nk", "billing-1\nk"}}} {
		r.Table = core.SnapshotsTable
		if _, err := g.Records(as(t, access.Writer, "order-*"), r); !errors.Is(err, core.CodeForbidden) {
			t.Errorf("records %+v: %v", r, err)
		}
	}
}

// TestParkedEventsAreWithinThePatterns: an operator steers every subscription, and sees only
// the parked events that it may read.
func TestParkedEventsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	d := subscriptions.DefaultDefinition()
	if _, _, err := g.subs.Put(g.admin, "all", &d); err != nil {
		t.Fatal(err)
	}
	join := subscriptions.JoinRequest{Name: "all"}
	join.Credit.Events, join.Credit.Bytes = 100, 1<<20
	w, err := subscriptions.JoinWaiting(g.admin, g.subs, join)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Leave(true)
	for parked := 0; parked < 6; {
		got, err := w.Next(t.Context(), core.Limit{Events: 10, Bytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		for e := range got.Events() {
			a := subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{e.Position}, Nack: delivery.Nack{Action: delivery.ActionPark, Reason: "of " + e.Stream}}
			if err := w.Do(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			parked++
		}
	}
	for _, c := range []struct {
		ctx  context.Context
		want int
	}{{g.admin, 6}, {as(t, access.Operator), 0}, {as(t, access.Operator, "order-*"), 3}, {as(t, access.Operator, "$all"), 6}} {
		page, err := g.subs.Parked(c.ctx, "all", subscriptions.ParkedRequest{})
		seen := 0
		for _, p := range page.Parked {
			if seen += p.Event.Count; p.Event.Count == 0 && p.Key+p.Reason != "" {
				t.Errorf("%v tells of an event that is not shown: %+v", access.Of(c.ctx).Streams, p)
			}
		}
		if err != nil || len(page.Parked) != 6 || seen != c.want {
			t.Errorf("%s %v sees %d of %d parked events, %v, want %d", access.Of(c.ctx).Role, access.Of(c.ctx).Streams, seen, len(page.Parked), err, c.want)
		}
	}
}

// TestReasonsAreForWhoMayConsume: a consumer writes why a subscription is stopped, and may write
// what is in an event.
func TestReasonsAreForWhoMayConsume(t *testing.T) {
	g := newGuarded(t)
	d := subscriptions.DefaultDefinition()
	d.Stream = "order-1"
	if _, _, err := g.subs.Put(g.admin, "stops", &d); err != nil {
		t.Fatal(err)
	}
	join := subscriptions.JoinRequest{Name: "stops"}
	join.Credit.Events, join.Credit.Bytes = 1, 1<<20
	w, err := subscriptions.JoinWaiting(g.admin, g.subs, join)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Leave(true)
	var got subscriptions.Delivery
	for got.Count == 0 { // the first says how the subscription is
		if got, err = w.Next(t.Context(), core.Limit{Events: 1, Bytes: 1 << 20}); err != nil {
			t.Fatal(err)
		}
	}
	stop := subscriptions.Answer{Kind: subscriptions.Nack, Positions: []uint64{got.First}, Nack: delivery.Nack{Action: delivery.ActionStop, Reason: "secret 42"}}
	if err := w.Do(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	named := access.With(t.Context(), &access.Principal{Name: "k", Role: access.Operator, Streams: []string{"*"}, Names: []string{"others"}})
	for _, c := range []struct {
		ctx  context.Context
		sees bool
	}{
		{g.admin, true}, {as(t, access.Operator), false}, {as(t, access.Operator, "billing-*"), false}, {named, false},
		{as(t, access.Operator, "order-*"), true}, {as(t, access.Operator, "*"), true},
	} {
		info, infoErr := g.subs.Info(c.ctx, "stops")
		page, listErr := g.subs.List(c.ctx, subscriptions.ListRequest{})
		put, _, putErr := g.subs.Put(c.ctx, "stops", &d)
		if c.ctx == named {
			put, putErr = info, nil // it may not put
		}
		if err := errors.Join(infoErr, listErr, putErr); err != nil || len(page.Subscriptions) != 1 {
			t.Fatalf("%v lists %+v, %v", access.Of(c.ctx), page, err)
		}
		for what, i := range map[string]subscriptions.Info{"info": info, "list": page.Subscriptions[0], "put": put} {
			if i.State != delivery.Stopped || i.Reason == "" || strings.Contains(i.Reason, "secret 42") != c.sees {
				t.Errorf("%s %v, %s: %s for %q", access.Of(c.ctx).Role, access.Of(c.ctx).Streams, what, i.State, i.Reason)
			}
		}
	}
}

// TestExpressionsAreWithinThePatterns: an expression would tell of linked events that its maker
// may not read.
func TestExpressionsAreWithinThePatterns(t *testing.T) {
	g := newGuarded(t)
	define := func(expr string, streams ...string) *subscriptions.Definition {
		d := subscriptions.DefaultDefinition()
		d.Stream, d.Filter.Expr, d.Filter.Streams = "mixed-1", expr, streams
		return &d
	}
	reader, operator := as(t, access.Reader, "order-*", "mixed-*"), as(t, access.Operator)
	for name, d := range map[string]*subscriptions.Definition{"alone": define("true"), "too-wide": define("true", "*")} {
		if _, err := g.subs.Join(reader, subscriptions.JoinRequest{Name: name, Definition: d}); !errors.Is(err, core.CodeForbidden) {
			t.Errorf("%s, joined: %v", name, err)
		}
	}
	s, err := g.subs.Join(reader, subscriptions.JoinRequest{Name: "within", Definition: define("true", "order-*")})
	if err != nil {
		t.Fatal(err)
	}
	s.Leave(true)
	if _, _, err := g.subs.Put(operator, "put", define("true")); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("an operator without patterns puts an expression: %v", err)
	}
	if _, _, err := g.subs.Put(operator, "put", define("")); err != nil {
		t.Error(err)
	}
	if err := g.subs.Redefine(operator, "put", define("true")); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("an operator without patterns changes it to an expression: %v", err)
	}
	for what, plugin := range map[string]func(d *subscriptions.Definition){
		"filter": func(d *subscriptions.Definition) { d.Filter.Plugin = "x@1" }, "map": func(d *subscriptions.Definition) { d.Map.Plugin = "x@1" },
		"key": func(d *subscriptions.Definition) { d.PartitionBy = "plugin:x@1" },
	} {
		d := define("")
		plugin(d)
		if _, err := g.subs.Join(reader, subscriptions.JoinRequest{Name: what, Definition: d}); !errors.Is(err, core.CodeForbidden) {
			t.Errorf("a reader without patterns for all links joins with a plugin as %s: %v", what, err)
		}
		if err := g.subs.Redefine(operator, "put", d); !errors.Is(err, core.CodeForbidden) {
			t.Errorf("an operator without patterns changes the %s to a plugin: %v", what, err)
		}
	}
	named := access.With(t.Context(), &access.Principal{Role: access.Operator, Names: []string{"mine"}})
	if err := g.subs.Pause(named, "put"); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("an operator steers what is not of its names: %v", err)
	}
}

// TestTransientIsNotTheStoredOne: what a stored subscription of the same name reads opens nothing.
func TestTransientIsNotTheStoredOne(t *testing.T) {
	g := newGuarded(t)
	reader := as(t, access.Reader, "order-*", "mixed-*")
	own, inside := subscriptions.DefaultDefinition(), subscriptions.DefaultDefinition()
	own.Stream, inside.Stream, inside.Filter.Expr = "order-1", "mixed-1", `data.secret == 1`
	if _, _, err := g.subs.Put(g.admin, "x", &own); err != nil {
		t.Fatal(err)
	}
	join := subscriptions.JoinRequest{Name: "x", Transient: true, Definition: &inside}
	if _, err := g.subs.Join(reader, join); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("an expression over links to others: %v", err)
	}
	s, err := g.subs.Join(g.admin, join)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Leave(true)
	join.Definition, join.AnyOptions = &own, true
	if _, err := g.subs.Join(reader, join); !errors.Is(err, core.CodeSubscriptionOptionsDiffer) {
		t.Errorf("joined as it is: %v", err)
	}
}

// TestJoinsThatCreateAreReported: by whom, once, and not those that find the subscription there.
func TestJoinsThatCreateAreReported(t *testing.T) {
	g := newGuarded(t)
	var created []string
	g.subs = access.NewSubscriptionGuard(g.owner, g.store, func(ctx context.Context, name string) {
		created = append(created, access.Of(ctx).Name+" "+name)
	}, nil)
	d := subscriptions.DefaultDefinition()
	d.Stream = "order-1"
	for _, c := range []struct {
		ctx       context.Context
		name      string
		transient bool
	}{{g.admin, "a", false}, {g.admin, "a", false}, {as(t, access.Reader, "order-*"), "b", false}, {as(t, access.Reader, "order-*"), "a", false}, {g.admin, "c", true}} {
		s, err := g.subs.Join(c.ctx, subscriptions.JoinRequest{Name: c.name, Definition: &d, Transient: c.transient})
		if err != nil {
			t.Fatal(err)
		}
		s.Leave(true)
	}
	if want := []string{"root a", "k1 b"}; !slices.Equal(created, want) {
		t.Errorf("created %q, want %q", created, want)
	}
}

// TestEventsOfOthersAreNotFound: an id of an event that a key may not read is answered as one that
// nobody has, also in a link.
func TestEventsOfOthersAreNotFound(t *testing.T) {
	g := newGuarded(t)
	reader, writer := as(t, access.Reader, "order-*"), as(t, access.Writer, "order-*")
	link := func(id core.ID) error {
		_, err := g.Append(writer, core.Commit{Appends: []core.Append{{Stream: "order-9", Expect: core.AnyVersion, Links: []core.ID{id}}}})
		return err
	}
	find := func(id core.ID) error {
		_, err := g.Event(reader, id)
		return err
	}
	if err := errors.Join(find(g.ids["order-10"]), link(g.ids["order-10"])); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(core.ID) error{"find": find, "link": link} {
		theirs, none := g.ids["billing-10"], core.NewID()
		got, want := core.AsError(do(theirs)), core.AsError(do(none))
		if got.Code != core.CodeEventNotFound || strings.ReplaceAll(got.Error(), theirs.String(), none.String()) != want.Error() {
			t.Errorf("%s: %v, of none %v", name, got, want)
		}
	}
}
