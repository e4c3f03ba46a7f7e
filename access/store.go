package access

import (
	"context"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Store is what a Guard does for principals: the node's core.Store, or a router before many.
type Store interface {
	core.Log
	core.LogReader
	core.RecordReader
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	Event(ctx context.Context, id core.ID) (core.Event, error)
	Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error)
	State() core.State
}

// Guard is a Store that does for the principal of a call's context what that may do. It is
// safe for concurrent use.
type Guard struct{ store Store }

var _ Store = Guard{}

// NewGuard returns a Guard before a store.
func NewGuard(s Store) Guard { return Guard{s} }

// Append is core.Log.Append.
func (g Guard) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	if err := g.checkCommit(ctx, &c); err != nil {
		return core.Result{}, err
	}
	return g.store.Append(ctx, c)
}

// Submit is core.Store.Submit. For links of a principal that may not do everything it waits
// until the events that they name are found.
func (g Guard) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	if err := g.checkCommit(ctx, &c); err != nil {
		done(core.Result{}, err)
		return
	}
	g.store.Submit(ctx, c, done)
}

// checkCommit checks all that a Commit writes, and all that its answer would tell.
func (g Guard) checkCommit(ctx context.Context, c *core.Commit) error {
	p := Of(ctx)
	if p.Free() {
		return p.Check(Append, "")
	}
	for i := range c.Appends {
		a := &c.Appends[i]
		if err := p.Check(Append, a.Stream); err != nil {
			return err
		}
		if err := g.checkLinks(ctx, p, c, a.Links); err != nil {
			return err
		}
	}
	for i := range c.Checks {
		if err := p.Check(Read, c.Checks[i].Stream); err != nil {
			return err
		}
	}
	for i := range c.Streams {
		op := &c.Streams[i]
		a := DeleteStreams
		if op.Action.Removes() {
			a = RemoveStreams
		}
		if err := p.Check(a, op.Stream); err != nil {
			return err
		}
	}
	for i := range c.Records {
		if err := p.checkRecord(&c.Records[i]); err != nil {
			return err
		}
	}
	if c.Progress != nil {
		return p.Check(Progress, c.Progress.Name)
	}
	return nil
}

// checkRecord checks what may write a record: that of a snapshot, who may append to its stream.
func (p *Principal) checkRecord(r *core.RecordOp) error {
	switch stream := core.SnapshotStream(r.Key); {
	case r.Table == core.SnapshotsTable && stream != "":
		return p.Check(Append, stream)
	case r.Table == core.RetentionTable:
		return p.checkRetention(r.Key)
	case strings.HasPrefix(r.Table, "progress"): // of one that is deleted: it was read, and checked then
		return nil
	}
	return p.forbidden(Append, "the records of "+r.Table, "only the node may")
}

// checkRetention checks who may set the policy of a record: that of a category, whoever may those
// of all its streams.
func (p *Principal) checkRetention(key string) error {
	t := core.RetentionTargetOf(key)
	if t.Stream != "" {
		return p.Check(SetRetention, t.Stream)
	}
	if err := p.Check(SetRetention, t.Category); err != nil {
		return err
	}
	return p.Check(SetRetention, t.Category+"-*")
}

// checkLinks checks that the principal may read the events that links name: others are as if they
// were not there. Those that the Commit itself writes are to streams that it may append to.
func (g Guard) checkLinks(ctx context.Context, p *Principal, c *core.Commit, links []core.ID) error {
	for _, id := range links {
		if writes(c, id) {
			continue
		}
		if _, err := g.readable(ctx, p, id); err != nil {
			return err
		}
	}
	return nil
}

// homeOf is the stream that an event was written to.
func homeOf(e *core.Event) string {
	if e.Link.Stream != "" {
		return e.Link.Stream
	}
	return e.Stream
}

// writes reports whether a Commit writes the event with an id.
func writes(c *core.Commit, id core.ID) bool {
	for i := range c.Appends {
		for j := range c.Appends[i].Events {
			if c.Appends[i].Events[j].ID == id {
				return true
			}
		}
	}
	return false
}

// ReadLog is core.LogReader.ReadLog, for principals that may do everything.
func (g Guard) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	p := Of(ctx)
	if err := p.Check(Read, core.All); err != nil {
		return core.Page{}, err
	}
	if !p.Free() {
		return core.Page{}, p.forbidden(Read, "the log with its links", "only an admin may")
	}
	return g.store.ReadLog(ctx, from, limit)
}

// Records is core.RecordReader.Records. The API reads no records but those of snapshots, for
// whom may read their stream, of retention, and of progress, of which it deletes one only after it has read it.
// Progress that the principal may not use is left out of a page; to ask for one by its key is
// forbidden.
func (g Guard) Records(ctx context.Context, r core.RecordsRequest) (found []core.Record, err error) {
	p := Of(ctx)
	switch r.Table {
	case core.SnapshotsTable:
		return g.snapshots(ctx, p, r)
	case core.RetentionTable:
		return g.retentions(ctx, p, r)
	}
	if err := p.Check(Progress, ""); err != nil {
		return nil, err
	}
	for _, name := range r.Keys {
		if err := p.Check(Progress, name); err != nil {
			return nil, err
		}
	}
	if p.Free() || p.Names == nil || r.Keys != nil {
		return g.store.Records(ctx, r)
	}
	return g.recordsOf(ctx, r, p.hasName)
}

// recordsOf is a page of the records whose keys shows is true of.
func (g Guard) recordsOf(ctx context.Context, r core.RecordsRequest, shows func(key string) bool) (found []core.Record, err error) {
	page := r
	for page.Limit = core.MaxReadEvents; ; {
		records, err := g.store.Records(ctx, page)
		if err != nil {
			return nil, err
		}
		for i := range records {
			if !shows(records[i].Key) {
				continue
			}
			if found = append(found, records[i]); len(found) == r.Limit {
				return found, nil
			}
		}
		if len(records) < page.Limit {
			return found, nil
		}
		page.After = records[len(records)-1].Key
	}
}

// retentions reads policies: those of streams that the principal may read, by their names, and
// lists those that it may set.
func (g Guard) retentions(ctx context.Context, p *Principal, r core.RecordsRequest) ([]core.Record, error) {
	for _, key := range r.Keys {
		err := p.checkRetention(key)
		if stream := core.RetentionTargetOf(key).Stream; stream != "" {
			err = p.Check(Read, stream)
		}
		if err != nil {
			return nil, err
		}
	}
	if p.Free() || r.Keys != nil {
		return g.store.Records(ctx, r)
	}
	if err := p.Check(SetRetention, ""); err != nil {
		return nil, err
	}
	return g.recordsOf(ctx, r, func(key string) bool { return p.checkRetention(key) == nil })
}

// snapshots reads the records of snapshots of streams that are all named.
func (g Guard) snapshots(ctx context.Context, p *Principal, r core.RecordsRequest) ([]core.Record, error) {
	keys := r.Keys
	if keys == nil {
		keys = []string{r.Prefix}
	}
	for _, key := range keys {
		stream := core.SnapshotStream(key)
		if stream == "" {
			return nil, p.forbidden(Read, "snapshots of all streams", "only the node may")
		}
		if err := p.Check(Read, stream); err != nil {
			return nil, err
		}
	}
	return g.store.Records(ctx, r)
}

// Event finds an event by its id. One that the principal may not read is not found.
func (g Guard) Event(ctx context.Context, id core.ID) (core.Event, error) {
	p := Of(ctx)
	if err := p.Check(Read, ""); err != nil {
		return core.Event{}, err
	}
	return g.readable(ctx, p, id)
}

// readable finds an event. The error is the same for one that the principal may not read as for
// one that does not exist: whoever has an id learns nothing from it.
func (g Guard) readable(ctx context.Context, p *Principal, id core.ID) (core.Event, error) {
	e, err := g.store.Event(ctx, id)
	if err == nil && !p.mayRead(homeOf(&e)) {
		return core.Event{}, core.NewEventNotFound(id)
	}
	return e, err
}

// Streams lists the streams that the principal may read, and counts no other. To ask for one by
// its name that it may not read is forbidden.
func (g Guard) Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	p := Of(ctx)
	if err := p.Check(ListStreams, ""); err != nil {
		return core.StreamsPage{}, err
	}
	for _, name := range r.Names {
		if err := p.Check(Read, name); err != nil {
			return core.StreamsPage{}, err
		}
	}
	switch {
	case p.Free() || r.Names != nil:
		return g.store.Streams(ctx, r)
	case len(p.Streams) == 0:
		r.Within = []string{}
		return g.store.Streams(ctx, r)
	}
	if r.System = false; !isEvery(p.Streams) {
		r.Within = p.Streams
	}
	return g.store.Streams(ctx, r)
}

// State is core.Store.State.
func (g Guard) State() core.State { return g.store.State() }
