package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

func newStore(t *testing.T) *core.Store {
	t.Helper()
	store := core.NewStore(memory.New(), core.StoreConfig{})
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func open(t *testing.T, store keys.Store) *keys.Keys {
	t.Helper()
	k, err := keys.New(t.Context(), keys.Config{Store: store, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// as is the context of whom a token is of.
func as(t *testing.T, k *keys.Keys, token string) context.Context {
	t.Helper()
	p, err := k.Authenticate(token)
	if err != nil {
		t.Fatal(err)
	}
	return access.With(t.Context(), p)
}

func TestAnOpenStoreTakesEverybody(t *testing.T) {
	k := open(t, newStore(t))
	for _, token := range []string{"", "whatever"} {
		if p, err := k.Authenticate(token); err != nil || !p.Free() || p.Name != access.Anonymous {
			t.Errorf("%q: %v, %v", token, p, err)
		}
	}
	if _, _, err := k.Create(as(t, k, ""), keys.Key{Role: access.Reader, Streams: []string{"*"}}); !errors.Is(err, core.CodeInvalidKey) {
		t.Errorf("the first key is a reader's: %v", err)
	}
}

func TestTheFirstKeyProtects(t *testing.T) {
	k := open(t, newStore(t))
	anyone, err := k.Authenticate("")
	if err != nil {
		t.Fatal(err)
	}
	made, token, err := k.Init(t.Context(), "root")
	if err != nil || made.Role != access.Admin {
		t.Fatal(made, err)
	}
	select {
	case <-anyone.Ended():
	case <-time.After(time.Minute):
		t.Fatal("anyone goes on")
	}
	if p, err := k.Authenticate(token); err != nil || p.Name != made.ID || p.Role != access.Admin {
		t.Errorf("the key is of %v, %v", p, err)
	}
	other := strings.Replace(token, made.ID, "aaaaaaaaaa", 1)
	for _, wrong := range []string{"", "x", token[:len(token)-1], token + "A", other, flip(token), strings.ToUpper(token), " " + token} {
		if _, err := k.Authenticate(wrong); !errors.Is(err, core.CodeUnauthenticated) {
			t.Errorf("%q: %v", wrong, err)
		} else if wrong != "" && wrong != "x" && strings.Contains(err.Error(), wrong) {
			t.Errorf("the error has the token: %v", err)
		}
	}
	if _, _, err := k.Init(t.Context(), ""); !errors.Is(err, core.CodeKeysExist) {
		t.Errorf("a second init: %v", err)
	}
}

// flip changes the last character but one: of the last, not all bits count.
func flip(token string) string {
	b := []byte(token)
	if i := len(b) - 2; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestKeysAreMadeAndRevokedByAdmins(t *testing.T) {
	store := newStore(t)
	here, there := open(t, store), open(t, store) // two nodes
	first, token, err := here.Init(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	admin := as(t, here, token)
	made, writer, err := here.Create(admin, keys.Key{Role: access.Writer, Streams: []string{"order-*"}, Note: "the shop"})
	if err != nil || made.By != first.ID {
		t.Fatal(made, err)
	}
	var p *access.Principal
	for p == nil || p.Name != made.ID { // the other node hears of it, and is open until it hears of the first
		p, _ = there.Authenticate(writer)
	}
	if err := p.Check(access.Append, "order-1"); err != nil {
		t.Error(err)
	}
	if _, _, err := here.Create(as(t, here, writer), keys.Key{Role: access.Admin}); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("a writer makes an admin: %v", err)
	}
	if err := here.Revoke(as(t, here, writer), first.ID); !errors.Is(err, core.CodeForbidden) {
		t.Errorf("a writer revokes: %v", err)
	}
	if err := here.Revoke(admin, made.ID); err != nil {
		t.Fatal(err)
	}
	<-p.Ended() // at the other node, too
	for _, k := range []*keys.Keys{here, there} {
		if _, err := k.Authenticate(writer); !errors.Is(err, core.CodeUnauthenticated) {
			t.Errorf("a revoked key: %v", err)
		}
	}
	if err := p.Check(access.Append, "order-1"); !errors.Is(err, core.CodeUnauthenticated) {
		t.Errorf("a revoked principal: %v", err)
	}
	if err := here.Revoke(admin, made.ID); !errors.Is(err, core.CodeKeyNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	if err := here.Revoke(admin, first.ID); !errors.Is(err, core.CodeLastAdminKey) {
		t.Errorf("the last admin: %v", err)
	}
	if _, _, err := here.Create(access.WithAddress(admin, "192.0.2.1:5"), keys.Key{Role: access.Operator}); err != nil {
		t.Fatal(err)
	}
	page, err := store.Read(t.Context(), core.ReadRequest{Stream: keys.Audit})
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for e := range page.Events() {
		var act keys.Act
		if err := json.Unmarshal(e.Data, &act); err != nil || act.Node != "n1" || act.Target == "" {
			t.Errorf("the audit has %s, %v", e.Data, err)
		}
		types = append(types, e.Type+act.From)
		if strings.Contains(string(e.Data), "hash") || strings.Contains(string(e.Data), "gyre_") {
			t.Errorf("the audit has a secret: %s", e.Data)
		}
	}
	if want := []string{"KeyCreated", "KeyCreated", "KeyRevoked", "KeyCreated192.0.2.1:5"}; !slices.Equal(types, want) {
		t.Errorf("the audit has %v, want %v", types, want)
	}
}

func TestKeysExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		k, err := keys.New(t.Context(), keys.Config{Store: store})
		if err != nil {
			t.Fatal(err)
		}
		_, token, err := k.Init(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, reader, err := k.Create(as(t, k, token), keys.Key{Role: access.Reader, Streams: []string{"*"}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := k.Authenticate(reader)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if err := p.Check(access.Read, "a"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		<-p.Ended()
		if _, err := k.Authenticate(reader); !errors.Is(err, core.CodeUnauthenticated) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("an expired key: %v", err)
		}
		if n := len(k.List()); n != 2 {
			t.Errorf("%d keys are listed", n)
		}
		k.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestBadKeys(t *testing.T) {
	k := open(t, newStore(t))
	_, token, err := k.Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	admin := as(t, k, token)
	for name, bad := range map[string]keys.Key{
		"no role":          {Streams: []string{"*"}},
		"another role":     {Role: "root"},
		"no streams":       {Role: access.Writer},
		"patterns, admin":  {Role: access.Admin, Streams: []string{"*"}},
		"the system's":     {Role: access.Reader, Streams: []string{"$audit"}},
		"an empty pattern": {Role: access.Reader, Streams: []string{""}},
		"many patterns":    {Role: access.Reader, Streams: slices.Repeat([]string{"a"}, access.MaxPatterns+1)},
		"a control":        {Role: access.Reader, Streams: []string{"*"}, Note: "a\nb"},
		"a long note":      {Role: access.Reader, Streams: []string{"*"}, Note: strings.Repeat("a", 300)},
		"over":             {Role: access.Reader, Streams: []string{"*"}, Expires: time.Now().Add(-time.Minute)},
	} {
		if _, _, err := k.Create(admin, bad); !errors.Is(err, core.CodeInvalidKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err = k.Create(admin, keys.Key{Role: access.Reader, Streams: []string{"*"}, Names: []string{"$x"}})
	if err == nil || !strings.Contains(err.Error(), `"$x" is not a pattern of names, such as mail-*`) {
		t.Errorf("a bad pattern of names: %v", err)
	}
	_, _, err = k.Create(admin, keys.Key{Role: access.Reader, Streams: []string{"*"}, Names: slices.Repeat([]string{"a"}, access.MaxPatterns+1)})
	if err == nil || !strings.Contains(err.Error(), "65 patterns of names, the limit is 64") {
		t.Errorf("many patterns of names: %v", err)
	}
	if n := len(k.List()); n != 1 {
		t.Errorf("there are %d keys", n)
	}
}

// TestATokenFromElsewhere: a store without keys takes it, and later knows it again.
func TestATokenFromElsewhere(t *testing.T) {
	store := newStore(t)
	here, there, token := open(t, store), open(t, store), keys.NewToken()
	var nodes sync.WaitGroup
	for _, k := range []*keys.Keys{here, there, here, there} { // at once
		nodes.Go(func() {
			if err := k.Accept(t.Context(), token, "from a file"); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
	if p, err := here.Authenticate(token); err != nil || p.Role != access.Admin || len(here.List()) != 1 {
		t.Errorf("%v, %v", p, err)
	}
	if err := here.Accept(t.Context(), "secret", ""); !errors.Is(err, core.CodeInvalidKey) {
		t.Errorf("any text: %v", err)
	}
	if _, other, err := here.Recover(t.Context(), "lost"); err != nil || as(t, here, other) == nil {
		t.Error(err)
	}
	if err := here.Accept(t.Context(), token, ""); err != nil {
		t.Errorf("one of two admins: %v", err)
	}
}

// TestATokenOfNoAdmin: a store with keys takes no other, and says why. Time is virtual.
func TestATokenOfNoAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := open(t, newStore(t))
		_, root, err := k.Init(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		admin := as(t, k, root)
		_, reader, err := k.Create(admin, keys.Key{Role: access.Reader, Streams: []string{"*"}})
		if err != nil {
			t.Fatal(err)
		}
		gone, revoked, err := k.Create(admin, keys.Key{Role: access.Admin})
		if err == nil {
			err = k.Revoke(admin, gone.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, expired, err := k.Create(admin, keys.Key{Role: access.Admin, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := k.Authenticate(expired)
		if err != nil {
			t.Fatal(err)
		}
		<-p.Ended()
		for token, says := range map[string]string{
			keys.NewToken(): "is none of them", revoked: "is none of them", reader: "the key of a reader",
			flip(root): "another key", expired: "has expired",
		} {
			if err := k.Accept(t.Context(), token, ""); !errors.Is(err, core.CodeKeysExist) || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want %q", err, says)
			}
		}
		if n := len(k.List()); n != 3 {
			t.Errorf("there are %d keys", n)
		}
	})
}

// away is a store that can be away.
type away struct {
	*core.Store
	mu  sync.Mutex
	err error
}

func (a *away) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return nil, a.err
	}
	return a.Store.Records(ctx, r)
}

// TestKnownKeysWorkWhileStorageIsAway, and what was changed meanwhile is heard of after it.
func TestKnownKeysWorkWhileStorageIsAway(t *testing.T) {
	store := newStore(t)
	other := open(t, store)
	_, token, err := other.Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	made, reader, err := other.Create(as(t, other, token), keys.Key{Role: access.Reader, Streams: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	a := &away{Store: store}
	k := open(t, a)
	a.mu.Lock()
	a.err = core.Errorf(core.CodeUnavailable, "away")
	a.mu.Unlock()
	p, err := k.Authenticate(reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Revoke(as(t, other, token), made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Authenticate(token); err != nil {
		t.Error(err)
	}
	a.mu.Lock()
	a.err = nil
	a.mu.Unlock()
	<-p.Ended()
}

// TestExpiredKeysMakeRoom: they do not count towards the bound of keys, and are deleted when it
// is reached.
func TestExpiredKeysMakeRoom(t *testing.T) {
	store := newStore(t)
	const old, older = "expired001", "expired000"
	var records []core.RecordOp
	for n := range keys.MaxKeys - 1 {
		id, expires := fmt.Sprintf("good%06d", n), ""
		switch n {
		case 0:
			id, expires = old, `,"expires":"2026-01-02T00:00:00Z"`
		case 1:
			id, expires = older, `,"expires":"2026-01-01T00:00:00Z"`
		}
		records = append(records, core.RecordOp{Table: "keys", Key: id, Expect: core.NoStream, Value: fmt.Appendf(nil, `{"id":%q,"role":"operator","hash":"AA=="%s}`, id, expires)})
	}
	if _, err := store.Append(t.Context(), core.Commit{System: true, Records: records}); err != nil {
		t.Fatal(err)
	}
	k := open(t, store)
	_, token, err := k.Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	admin := as(t, k, token)
	for _, want := range []struct{ gone, stays bool }{{true, true}, {true, false}} {
		if _, _, err := k.Create(admin, keys.Key{Role: access.Operator}); err != nil {
			t.Fatal(err)
		}
		has := func(id string) bool {
			return slices.ContainsFunc(k.List(), func(k keys.Key) bool { return k.ID == id })
		}
		if n := len(k.List()); n != keys.MaxKeys || has(older) == want.gone || has(old) != want.stays {
			t.Errorf("%d keys, the older one is listed: %t, the other: %t", n, has(older), has(old))
		}
	}
	if _, _, err := k.Create(admin, keys.Key{Role: access.Operator}); !errors.Is(err, core.CodeInvalidKey) {
		t.Errorf("a key beyond the bound: %v", err)
	}
	if _, _, err := k.Recover(t.Context(), "lost"); err != nil {
		t.Errorf("the store cannot be recovered: %v", err)
	}
}

// stuck is a store whose records cannot be read while it is stuck.
type stuck struct {
	*core.Store
	until atomic.Pointer[context.Context] // nil: it is not
}

func (s *stuck) Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error) {
	if until := s.until.Load(); until != nil {
		select {
		case <-(*until).Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Records(ctx, r)
}

// TestCreateKeepsItsDeadline: also while the node reads the keys for another reason, and does
// not come to an end. The key is made. Time is virtual.
func TestCreateKeepsItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{Store: core.NewStore(memory.New(), core.StoreConfig{})}
		k, err := keys.New(t.Context(), keys.Config{Store: s})
		if err != nil {
			t.Fatal(err)
		}
		_, token, err := k.Init(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		until, end := context.WithCancel(t.Context())
		s.until.Store(&until)
		ctx, cancel := context.WithTimeout(as(t, k, token), time.Second)
		defer cancel()
		began := time.Now()
		_, made, err := k.Create(ctx, keys.Key{Role: access.Operator})
		if took := time.Since(began); err != nil || took != time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		end()
		synctest.Wait()
		if _, err := k.Authenticate(made); err != nil {
			t.Error(err)
		}
		k.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNoNames: a key that is given an empty list may use no name, at any time.
func TestNoNames(t *testing.T) {
	store := newStore(t)
	k := open(t, store)
	_, token, err := k.Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		names []string
		want  core.Code
	}{"left out": {nil, ""}, "none": {[]string{}, core.CodeForbidden}, "some": {[]string{"a*"}, core.CodeForbidden}} {
		_, made, err := k.Create(as(t, k, token), keys.Key{Role: access.Reader, Streams: []string{"*"}, Names: c.names})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []*keys.Keys{k, open(t, store)} {
			if err := access.Check(as(t, k, made), access.Progress, "billing"); c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want) {
				t.Errorf("names %s: %v", name, err)
			}
		}
	}
}
