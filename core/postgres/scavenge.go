package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

const (
	// scavengeRows is how many rows a scavenge looks at, and deletes, in one transaction.
	scavengeRows = 1000
	// rowBytes is what a row takes beside data and metadata, with its entries of indexes, about.
	rowBytes = 200
	// removedEvery is how often a scavenge of everything looks whether the rows of removed
	// streams are gone.
	removedEvery = 200 * time.Millisecond
)

// scavenger runs scavenges, one at a time.
type scavenger struct {
	conn *ownConn
	turn chan struct{} // has room for one: a scavenge runs
}

var _ core.Scavenger = (*Engine)(nil)

// Scavenge is core.Scavenger's. It counts positions, and deletes rows in short transactions on a
// connection of its own. Rows of removed streams go by themselves; with All it waits for that.
func (e *Engine) Scavenge(ctx context.Context, s core.Scavenging) (core.Scavenged, error) {
	if err := ctx.Err(); err != nil {
		return core.Scavenged{}, core.AsError(err)
	}
	select {
	case e.scavenger.turn <- struct{}{}:
		defer func() { <-e.scavenger.turn }()
	case <-ctx.Done():
		return core.Scavenged{}, core.AsError(ctx.Err())
	case <-e.closing.Done():
		return core.Scavenged{}, errClosed()
	}
	r := scavenge{Scavenging: s, engine: e, ctx: ctx, pace: s.Pace()}
	r.done.Next = max(s.From, 1)
	return r.done, r.run()
}

// scavenge is one that runs.
type scavenge struct {
	core.Scavenging
	engine  *Engine
	ctx     context.Context // of the call
	pace    *core.Pace
	done    core.Scavenged
	indexed bool // there is linkIndex
}

func (r *scavenge) run() error {
	if err := r.engine.scavengeCall(r.ctx, r.begin); err != nil {
		return err
	}
	for r.Fate != nil && r.done.Next <= r.done.Last {
		if err := r.some(); err != nil {
			return err
		}
		if r.Report != nil {
			r.Report(r.done)
		}
	}
	if r.All && !r.DryRun {
		if err := r.awaitRemover(); err != nil {
			return err
		}
	}
	r.done.Next = 0
	return nil
}

// begin finds out where the scavenge ends.
func (r *scavenge) begin(ctx context.Context, c *pgx.Conn) error {
	return c.QueryRow(ctx, `SELECT coalesce(max(e.position), 0) FROM `+r.engine.config.schema()+`.events e`).Scan(&r.done.Last)
}

// errPolicyPut says that a policy of retention was put since something was decided. It is no
// damage to the connection.
var errPolicyPut error = core.Errorf(core.CodeRecordConflict, "a policy of retention was put")

// some looks at the next rows and deletes those that go. If the epoch has moved meanwhile, or a
// policy was put, it decides about them again. It leaves the rows as they are if policies are put
// again and again.
func (r *scavenge) some() error {
	for decisions := 0; ; {
		page, err := r.look()
		if err != nil {
			return err
		}
		going, won, err := r.decide(page)
		if err != nil {
			return err
		}
		links := uint64(0)
		if len(going) > 0 && !r.DryRun {
			links, err = r.delete(page, going)
		}
		switch {
		case errors.Is(err, core.CodeStaleEpoch):
			continue
		case errors.Is(err, errPolicyPut):
			if decisions++; decisions < core.MaxDecisions {
				continue
			}
			going, won = nil, 0
			r.done.Deferred += page.bytes
		case err != nil:
			return err
		}
		d := &r.done
		d.Next, d.Bytes = page.next, d.Bytes+page.bytes
		d.Won, d.Events = d.Won+won+int64(links)*rowBytes, d.Events+uint64(len(going))+links
		if err := r.pace.Pay(r.ctx, page.bytes+won); err != nil {
			return core.AsError(err)
		}
		return nil
	}
}

// look reads the next rows.
func (r *scavenge) look() (page scavengePage, err error) {
	schema := r.engine.config.schema()
	err = r.engine.scavengeCall(r.ctx, func(ctx context.Context, c *pgx.Conn) error {
		page = scavengePage{next: r.done.Last + 1}
		place := `SELECT l.epoch, coalesce((SELECT e.version FROM ` + schema + `.events e WHERE e.stream = (SELECT s.id FROM ` + schema + `.streams s WHERE s.name = $1) ORDER BY e.version DESC LIMIT 1), 0) FROM ` + schema + `.log l`
		if err := c.QueryRow(ctx, place, core.NoticeStream).Scan(&page.epoch, &page.notices); err != nil {
			return err
		}
		rows, err := c.Query(ctx, `SELECT * FROM `+schema+`.scavenge_look($1, $2, $3)`, r.done.Next, r.done.Last, scavengeRows)
		if err != nil {
			return err
		}
		var row scavengeRow
		_, err = pgx.ForEachRow(rows, row.columns(), func() error {
			page.add(&row)
			return nil
		})
		if len(page.rows) == scavengeRows {
			page.next = uint64(page.rows[scavengeRows-1].position) + 1
		}
		return err
	})
	return page, err
}

// decide returns the positions that go, and the bytes of their rows.
func (r *scavenge) decide(page scavengePage) (going []int64, won int64, err error) {
	if r.AsOf != nil {
		if _, err := r.AsOf(r.ctx); err != nil {
			return nil, 0, err
		}
	}
	events := page.events()
	if r.Prepare != nil {
		if err := r.Prepare(r.ctx, events); err != nil {
			return nil, 0, err
		}
	}
	for i := range page.rows {
		row := &page.rows[i]
		if row.name == nil {
			continue // the remover's
		}
		fate := core.Goes
		if !row.linksToNothing() {
			if fate, err = r.Fate(r.ctx, &events[0]); err != nil {
				return nil, 0, err
			}
			events = events[1:]
		}
		if fate != core.Stays {
			going = append(going, row.position)
			won += rowBytes + row.size
		}
	}
	return going, won, nil
}

// delete deletes rows, and the links to them, and returns how many links.
func (r *scavenge) delete(page scavengePage, positions []int64) (links uint64, err error) {
	e := r.engine
	if !r.indexed {
		if err := makeIndexes(r.ctx, &e.config, []Index{linkIndex}); err != nil {
			return 0, asError(err)
		}
		r.indexed = true
	}
	var notices *string // NULL: none matters
	if r.AsOf != nil {
		notices = new(core.NoticeStream)
	}
	for more := true; more && err == nil; {
		var some uint64
		err = e.scavengeCall(r.ctx, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT * FROM `+e.config.schema()+`.scavenge_some($1, $2, $3, $4, $5, $6)`, page.epoch, positions, scavengeRows, notices, core.RetentionNotice, page.notices).Scan(&some, &more)
		})
		links += some
	}
	return links, err
}

// awaitRemover waits until the rows of removed streams are gone.
func (r *scavenge) awaitRemover() error {
	for {
		has := false
		err := r.engine.scavengeCall(r.ctx, func(ctx context.Context, c *pgx.Conn) error {
			return c.QueryRow(ctx, `SELECT EXISTS (SELECT FROM `+r.engine.config.schema()+`.removed)`).Scan(&has)
		})
		if err != nil || !has {
			return err
		}
		r.engine.removeSoon()
		timer := time.NewTimer(removedEvery)
		select {
		case <-timer.C:
		case <-r.ctx.Done(): // the next call says so
		case <-r.engine.closing.Done():
		}
		timer.Stop()
	}
}

// scavengeCall runs a call, which may run twice, on the connection of scavenges. It tries again
// what was only refused for now.
func (e *Engine) scavengeCall(ctx context.Context, call func(ctx context.Context, c *pgx.Conn) error) error {
	tries := retry{until: time.Now().Add(e.config.RetryFor), pause: firstPause}
	for {
		state := ""
		err := e.scavenger.conn.do(ctx, true, func(ctx context.Context, c *pgx.Conn) error {
			err := withSettings(ctx, c, func() error { return call(ctx, c) })
			switch state = stateOf(err); state {
			case stateEpochOver:
				return core.Errorf(core.CodeStaleEpoch, "the epoch is over")
			case statePolicyPut:
				return errPolicyPut
			}
			if state != "" && fateOf(err) == nothingDone {
				return asError(err) // the connection is kept
			}
			return err
		})
		if err == nil || !mayPass(state, err) || !tries.wait(ctx, e.closing) {
			return err
		}
	}
}

// mayPass reports whether a call that was refused may succeed soon.
func mayPass(state string, err error) bool {
	switch state {
	case stateLockTimeout, stateDeadlock, stateSerialization:
		return true
	}
	return errors.Is(err, core.CodeStoreUnavailable) || errors.Is(err, core.CodeStoreReadOnly)
}

// scavengePage is rows of events, as of an epoch and a version of core.NoticeStream.
type scavengePage struct {
	epoch   int64
	notices int64
	rows    []scavengeRow
	bytes   int64
	next    uint64 // position
}

func (p *scavengePage) add(row *scavengeRow) {
	p.rows = append(p.rows, *row)
	p.bytes += rowBytes + row.size
}

// events are the places of those whose fate is to be decided.
func (p *scavengePage) events() []core.Event {
	events := make([]core.Event, 0, len(p.rows))
	for i := range p.rows {
		if row := &p.rows[i]; row.name != nil && !row.linksToNothing() {
			events = append(events, row.event())
		}
	}
	return events
}

// scavengeRow is a row of scavenge_look.
type scavengeRow struct {
	position    int64
	name        *string // nil of a removed stream
	incarnation *uint32
	version     uint64
	recorded    time.Time
	link        *uint64
	home        *string // of the event of a link; nil if that is removed
	homeVersion *uint64
	size        int64
}

func (r *scavengeRow) columns() []any {
	return []any{&r.position, &r.name, &r.incarnation, &r.version, &r.recorded, &r.link, &r.home, &r.homeVersion, &r.size}
}

// linksToNothing reports whether the row is a link to an event that is removed.
func (r *scavengeRow) linksToNothing() bool { return r.link != nil && r.home == nil }

// event is the place of the row, for Scavenging.Fate.
func (r *scavengeRow) event() core.Event {
	e := core.Event{Stream: *r.name, Version: r.version, Position: uint64(r.position), Recorded: r.recorded.UTC(), Incarnation: *r.incarnation}
	if r.link != nil {
		e.Link = core.Origin{Stream: *r.home, Version: *r.homeVersion, Position: *r.link}
	}
	return e
}
