package core

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// policies are all policies of retention, in memory. Storage has them as records; a notice
// (notice.go) names each record that was put. Readers of the Store have them renewed first when
// they may be old: after a Commit of this Store that put one, and where others write to the log,
// once every renewEvery while its head moves.
type policies struct {
	engine Engine
	shared bool          // others write to the log
	most   int           // how many there may be
	turn   chan struct{} // holds 1 while they are renewed
	// changes counts how often a notice may have been written, and known is the count that the
	// policies are of.
	changes, known atomic.Uint64

	renewed atomic.Int64 // when they were last, Unix ns
	seen    atomic.Uint64
	any     atomic.Bool // there is a policy

	// Who has the turn uses the fields below.
	log     string // the log that the policies are of; "" before they are first read
	notices uint64 // the version of NoticeStream up to which they are known

	mu sync.RWMutex // protects the fields below
	// loosened counts the policies that show more than before, as far as that is known.
	loosened   uint64
	streams    map[string]policy
	categories map[string]Retention
}

// renewEvery is how long policies that another node has set may be unknown.
const renewEvery = 50 * time.Millisecond

func newPolicies(engine Engine) *policies {
	_, shared := engine.(HeadWatcher)
	p := &policies{engine: engine, shared: shared, most: MaxRetentions, turn: make(chan struct{}, 1)}
	p.change()
	return p
}

// change says that a notice may have been written. It does not block.
func (p *policies) change() { p.changes.Add(1) }

// of returns the policy of a stream, with the defaults of its category.
func (p *policies) of(stream string) policy {
	if IsSystem(stream) {
		return policy{}
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	own := p.streams[stream]
	if len(p.categories) > 0 {
		own.Retention = own.orElse(p.categories[CategoryOf(stream)])
	}
	return own
}

// refuses returns why c cannot be written: a policy more than there may be.
func (p *policies) refuses(c *Commit) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for i := range c.Records {
		op := &c.Records[i]
		if !op.putsRetention() || clearsRetention(op.Value) || len(p.streams)+len(p.categories) < p.most {
			continue
		}
		t := RetentionTargetOf(op.Key)
		if _, ok := p.streams[t.Stream]; ok && t.Stream != "" {
			continue
		}
		if _, ok := p.categories[t.Category]; ok && t.Category != "" {
			continue
		}
		e := Errorf(CodeTooManyRetentions, "there are %d policies of retention, none can be added", len(p.streams)+len(p.categories))
		e.Limit = int64(p.most)
		return e
	}
	return nil
}

// fresh has the policies renewed where they may be old.
func (p *policies) fresh(ctx context.Context) error {
	if p.shared && p.changes.Load() == p.known.Load() && time.Since(time.Unix(0, p.renewed.Load())) > renewEvery && p.engine.State().Head > p.seen.Load() {
		p.change()
	}
	return p.current(ctx)
}

// current has the policies renewed if a notice may have been written that is not known. It is
// for followers, whom storage that cannot be reached does not end while nothing is written.
func (p *policies) current(ctx context.Context) error {
	if p.changes.Load() == p.known.Load() {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return AsError(ctx.Err())
	}
	changes, state := p.changes.Load(), p.engine.State()
	if changes == p.known.Load() {
		return nil // another has just done it
	}
	if err := p.renew(ctx, state.Log); err != nil {
		return err
	}
	p.known.Store(changes)
	p.seen.Store(state.Head)
	p.renewed.Store(time.Now().UnixNano())
	return nil
}

// asOf has the policies renewed, whether or not they may be old, and returns loosened.
func (p *policies) asOf(ctx context.Context) (uint64, error) {
	p.change()
	if err := p.current(ctx); err != nil {
		return 0, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.loosened, nil
}

// renew reads the notices that are not known, and the policies that they name; all policies, if
// the log is another one or there are many notices. The caller has the turn.
func (p *policies) renew(ctx context.Context, log string) error {
	notices := p.notices
	if p.log != log {
		notices = MaxNumber - 1 // to learn of the last version only
	}
	page, err := p.engine.Read(ctx, ReadRequest{Stream: NoticeStream, From: notices + 1, Limit: Limit{Events: MaxReadEvents, Bytes: MaxPageBytes}})
	if err != nil && !isNotFound(err) {
		return err
	}
	if p.log != log || page.Version < p.notices || !page.End && err == nil {
		if err := p.readAll(ctx); err != nil {
			return err
		}
	} else if err := p.readNamed(ctx, page.Batch); err != nil {
		return err
	}
	p.log, p.notices = log, page.Version
	return nil
}

// readNamed reads the policies that notices name.
func (p *policies) readNamed(ctx context.Context, notices Batch) error {
	var keys []string
	for e := range notices.Events() {
		var notice struct{ Stream, Category string }
		if e.Type != RetentionNotice {
			continue
		}
		if err := json.Unmarshal(e.Data, &notice); err != nil {
			return Errorf(CodeStoreCorrupt, "event %d of %s cannot be read", e.Version, NoticeStream)
		}
		keys = append(keys, RetentionTarget{notice.Stream, notice.Category}.key())
	}
	if len(keys) == 0 {
		return nil
	}
	found, err := p.engine.Records(ctx, RecordsRequest{Table: RetentionTable, Keys: keys, Limit: len(keys)})
	if err != nil {
		return err
	}
	return p.take(found)
}

// readAll reads all policies.
func (p *policies) readAll(ctx context.Context) error {
	next := policies{}
	for q := (RecordsRequest{Table: RetentionTable, Limit: MaxReadEvents}); ; {
		found, err := p.engine.Records(ctx, q)
		if err != nil {
			return err
		}
		if err := next.take(found); err != nil {
			return err
		}
		if len(found) < q.Limit {
			break
		}
		q.After = found[len(found)-1].Key
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams, p.categories = next.streams, next.categories
	p.loosened++ // for all that is known
	p.any.Store(next.any.Load())
	return nil
}

// take takes in records as they were read.
func (p *policies) take(found []Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range found {
		stored, err := decodePolicy(&found[i])
		if err != nil {
			return err
		}
		switch t := RetentionTargetOf(found[i].Key); {
		case t.Stream != "":
			p.loosen(p.streams[t.Stream], stored, p.categories[CategoryOf(t.Stream)])
			p.streams = put(p.streams, t.Stream, stored)
		case t.Category != "":
			p.loosen(policy{Retention: p.categories[t.Category]}, stored, Retention{})
			p.categories = put(p.categories, t.Category, stored.Retention)
		}
	}
	p.any.Store(len(p.streams)+len(p.categories) > 0)
	return nil
}

// loosen counts a policy that changes from one to another, if that shows more; it has defaults.
// mu is held.
func (p *policies) loosen(from, to policy, defaults Retention) {
	from.Retention, to.Retention = from.orElse(defaults), to.orElse(defaults)
	if from.loosenedBy(to) {
		p.loosened++
	}
}

// put sets an entry of a map, which may be nil, or deletes it if the value is zero.
func put[T comparable](m map[string]T, key string, value T) map[string]T {
	if value == *new(T) {
		delete(m, key)
		return m
	}
	if m == nil {
		m = make(map[string]T)
	}
	m[strings.Clone(key)] = value
	return m
}

// putsRetention reports whether r changes a policy.
func (r *RecordOp) putsRetention() bool { return r.Table == RetentionTable && r.Action != CheckRecord }
