package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// table has the keys, by their ids, and a mark under protectedKey once there was one.
const (
	table        = "keys"
	protectedKey = "protected"
)

// retryAfter is the pause before storage that is away is asked again.
const retryAfter = 500 * time.Millisecond

const (
	// looksPerSecond and looksAtOnce bound how often storage is asked for a key that this node
	// does not know, so that wrong keys do not make it work; lookTimeout bounds each look.
	looksPerSecond = 10
	looksAtOnce    = 50
	lookTimeout    = time.Second
)

// Store is what keys are read from, and where $audit is followed: the node's own store, in
// a ring, too.
type Store interface {
	core.Log
	core.RecordReader
}

// Commits makes Commits: the node's store, or in a ring its router.
type Commits interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
}

// Config is what Keys need.
type Config struct {
	Store   Store
	Commits Commits // nil: Store
	Node    string  // its id, for the audit
	Logger  *slog.Logger
}

// Keys are those of a log. They are an access.Authenticator, and safe for concurrent use.
type Keys struct {
	config  Config
	known   atomic.Pointer[known]
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
	loading chan struct{} // has a value from a read of the keys until they are in use
	looks   *rate.Limiter
	looking chan struct{} // has a value during a look
}

var _ access.Authenticator = (*Keys)(nil)

// known is what is in memory. It does not change.
type known struct {
	protected bool
	byID      map[string]*holder
	anyone    *access.Principal
	end       context.CancelCauseFunc // of anyone
}

// holder is a key with its principal.
type holder struct {
	record
	stored    []byte // the record
	principal *access.Principal
	end       context.CancelCauseFunc
	stop      context.CancelFunc // of the timer for its expiry
}

// New reads the keys, and follows them until Close. Its error is the store's.
func New(ctx context.Context, config Config) (*Keys, error) {
	if config.Commits == nil {
		config.Commits = config.Store
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	k := &Keys{
		config: config, loading: make(chan struct{}, 1),
		looks: rate.NewLimiter(looksPerSecond, looksAtOnce), looking: make(chan struct{}, 1),
	}
	anyone, end := context.WithCancelCause(context.Background())
	k.known.Store(&known{anyone: access.Anyone(anyone), end: end})
	k.closing, k.close = context.WithCancel(context.Background())
	follower, err := k.follow(ctx)
	if err == nil {
		err = k.load(ctx)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	k.running.Go(func() { k.watch(follower) })
	return k, nil
}

// Close ends the watch. The keys that are known stay.
func (k *Keys) Close() {
	k.close()
	k.running.Wait()
}

// Protected reports whether the store has, or had, a key.
func (k *Keys) Protected() bool { return k.known.Load().protected }

// unknownToken is the error of every token that is of no key.
func unknownToken() error {
	return core.Errorf(core.CodeUnauthenticated, "the key is not known: it was revoked, or is of another store")
}

// Authenticate is access.Authenticator.Authenticate. It waits for the store, if this node does not
// know the key.
func (k *Keys) Authenticate(token string) (*access.Principal, error) {
	known := k.known.Load()
	if !known.protected {
		return known.anyone, nil
	}
	if token == "" {
		return nil, core.Errorf(core.CodeUnauthenticated, "no key was given, and the store has keys")
	}
	id, secret, ok := parseToken(token)
	if !ok {
		return nil, core.Errorf(core.CodeUnauthenticated, "what was given is not a key: that begins with gyre_ and has 59 characters")
	}
	h := known.byID[id]
	if h == nil {
		h = k.look(id)
	}
	if h == nil || !h.isSecret(secret) {
		return nil, unknownToken()
	}
	return h.principal, h.principal.Check(access.Connect, "")
}

// look asks the store for a key that another node may have made just now, and takes it into use.
// It returns nil if there is none, if the store does not answer, or if it is asked too often.
func (k *Keys) look(id string) *holder {
	if !k.looks.Allow() {
		return nil
	}
	ctx, cancel := context.WithTimeout(k.closing, lookTimeout)
	defer cancel()
	select {
	case k.looking <- struct{}{}:
		defer func() { <-k.looking }()
	case <-ctx.Done():
		return nil
	}
	found, err := k.config.Store.Records(ctx, core.RecordsRequest{Table: table, Keys: []string{id}})
	if err != nil || len(found) == 0 || k.load(ctx) != nil {
		return nil
	}
	return k.known.Load().byID[id]
}

// follow begins to follow the audit.
func (k *Keys) follow(ctx context.Context) (core.Follower, error) {
	return k.config.Store.Follow(ctx, core.FollowRequest{
		Stream: Audit, From: core.From{Kind: core.FromEnd}, Filter: core.Filter{Types: []string{keyCreated, keyRevoked}},
	})
}

// watch loads the keys when the audit has moved, until Close.
func (k *Keys) watch(follower core.Follower) {
	one := core.Limit{Events: core.MaxReadEvents, Bytes: core.MaxPageBytes}
	for {
		d, err := follower.Next(k.closing, one)
		if err == nil && d.Count == 0 {
			continue
		}
		if err != nil {
			_ = follower.Close() // it has ended
			follower = k.again(err)
		}
		if follower == nil {
			return
		}
		if err := k.load(k.closing); err != nil && k.closing.Err() == nil {
			_ = follower.Close() // a new one loads again
			if follower = k.again(err); follower == nil {
				return
			}
		}
	}
}

// again follows the audit anew after an error, with what is known kept until then. It
// returns nil when the Keys are closed.
func (k *Keys) again(err error) core.Follower {
	for warned := false; k.closing.Err() == nil && !errors.Is(err, core.CodeStoreClosed); warned = true {
		if !warned {
			k.config.Logger.Warn("keys are not followed; those that are known work on", "error", err)
		}
		select {
		case <-time.After(retryAfter):
		case <-k.closing.Done():
			return nil
		}
		var follower core.Follower
		if follower, err = k.follow(k.closing); err != nil {
			continue
		}
		if err = k.load(k.closing); err == nil {
			return follower
		}
		_ = follower.Close() // the next one is followed from where it begins
	}
	return nil
}

// load reads all keys, and takes them into use.
func (k *Keys) load(ctx context.Context) error {
	select { // what is read later is used later
	case k.loading <- struct{}{}:
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
	defer func() { <-k.loading }()
	records, err := read(ctx, k.config.Store)
	if err != nil {
		return err
	}
	_, protected := records[protectedKey]
	delete(records, protectedKey)
	k.replace(protected, records)
	return nil
}

// read returns the records of all keys, and the mark, by their keys.
func read(ctx context.Context, store core.RecordReader) (map[string][]byte, error) {
	records := map[string][]byte{}
	for after := ""; ; {
		page, err := store.Records(ctx, core.RecordsRequest{Table: table, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			records[r.Key] = r.Value
		}
		if len(page) < core.MaxReadEvents {
			return records, nil
		}
		after = page[len(page)-1].Key
	}
}

// replace takes what was read into use, and ends the principals of keys that are gone.
func (k *Keys) replace(protected bool, records map[string][]byte) {
	was := k.known.Load()
	next := &known{protected: protected, byID: make(map[string]*holder, len(records)), anyone: was.anyone, end: was.end}
	for id, stored := range records {
		if old := was.byID[id]; old != nil && bytes.Equal(old.stored, stored) {
			next.byID[id] = old
		} else if h, err := hold(id, stored); err == nil {
			next.byID[id] = h
		} else {
			k.config.Logger.Error("a key that cannot be read is passed over", "key", id, "error", err)
		}
	}
	k.known.Store(next)
	for id, old := range was.byID {
		if next.byID[id] != old {
			old.end(core.Errorf(core.CodeUnauthenticated, "the key %s was revoked", id))
			old.stop()
		}
	}
	if protected && !was.protected {
		was.end(core.Errorf(core.CodeUnauthenticated, "the store has keys now"))
	}
}

// hold makes the holder of a key.
func hold(id string, stored []byte) (*holder, error) {
	h := &holder{stored: stored}
	r := &h.record
	err := json.Unmarshal(stored, r)
	if err == nil && r.ID != id {
		err = errors.New("it is of another key")
	}
	if err != nil {
		return nil, err
	}
	ends, end := context.WithCancelCause(context.Background())
	h.end, h.stop = end, func() {}
	if !r.Expires.IsZero() {
		over := core.Errorf(core.CodeUnauthenticated, "the key %s has expired", r.ID)
		ends, h.stop = context.WithDeadlineCause(ends, r.Expires, over)
	}
	h.principal = r.principal().Until(ends)
	return h, nil
}
