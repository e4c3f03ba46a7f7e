package subscriptions

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// What is stored of subscriptions, all of it by Commits:
//
//	table                 key                   value        written by
//	subscriptions         name                  definition   who creates it, or redefines it
//	subscriptions_unnamed name/incarnation      definition   who makes or swaps it; see unnamed.go
//	subscription_state    incarnation           progress     the owner, compare-and-set
//	subscription_parked   incarnation/position  parkedEvent  the owner, with the progress
//	subscription_failed   incarnation/position  failedEvent  the owner, with the progress
//	subscription_replays  incarnation/position  nothing      who asks for a replay
//	subscription_removals incarnation           nothing      who deletes it
//	subscription_judging  incarnation/task       judging      the owner, if plugins judge its events
//	plugin_traces         incarnation/position  a trace      the binding, if it is bound; see TraceOf
//
// An incarnation is a subscription from its creation to its deletion. It has an
// id of its own, so that a subscription that is created again never meets what
// another of its name has left.
const (
	definitionsTable = "subscriptions"
	unnamedTable     = "subscriptions_unnamed"
	progressTable    = "subscription_state"
	parkedTable      = "subscription_parked"
	failedTable      = "subscription_failed"
	replaysTable     = "subscription_replays"
	removalsTable    = "subscription_removals"
	judgingTable     = "subscription_judging"
)

// incarnation is the record of a definition.
type incarnation struct {
	ID         string     `json:"id"`
	Created    time.Time  `json:"created"`
	Start      uint64     `json:"start"` // the position that From was when it was created
	Definition Definition `json:"definition"`
	Bound      bool       `json:"bound,omitempty"` // see bound.go

	key      nameKey
	revision uint64
}

// filter selects the events that are delivered. To a plugin, links of other streams deliver no
// events of the system's.
func (l *incarnation) filter() core.Filter {
	f := core.Filter{Streams: l.Definition.Filter.Streams, Types: l.Definition.Filter.Types}
	if l.Bound && !core.IsSystem(l.Definition.Stream) {
		f.Within = []string{"*"}
	}
	return f
}

// progress is what changes of a subscription.
type progress struct {
	Log        string `json:"log"` // that Checkpoint is a position of
	Checkpoint uint64 `json:"checkpoint"`
	Parked     int    `json:"parked"` // number of records
	Mode       mode   `json:"mode"`
	Reason     string `json:"reason,omitempty"` // of Stopped
	// Ahead are events beyond Checkpoint that are finished, by their positions: each as a
	// uvarint, the difference from the one before. A host that drains writes them.
	Ahead []byte `json:"ahead,omitempty"`
	// Writer and Serial tell who has written this, so that an owner whose Commit
	// was not answered knows its own.
	Writer string `json:"writer"`
	Serial uint64 `json:"serial"`
}

// mode is what a subscription was set to.
type mode string

const (
	running mode = "running"
	paused  mode = "paused"
	stopped mode = "stopped"
)

// modeOf is the mode of a machine.
func modeOf(s delivery.State) mode {
	switch s {
	case delivery.Paused:
		return paused
	case delivery.Stopped:
		return stopped
	}
	return running
}

// hasModeOf reports whether a machine's mode is as in p.
func (p *progress) hasModeOf(m *delivery.Machine) bool {
	return p.Mode == modeOf(m.State()) && p.Reason == m.Reason()
}

// maxAhead bounds the events of progress.Ahead. Those beyond are delivered again.
const maxAhead = 1 << 15

// encodeAhead encodes positions, which are in order.
func encodeAhead(positions []uint64) (b []byte) {
	last := uint64(0)
	for _, position := range positions {
		b = binary.AppendUvarint(b, position-last)
		last = position
	}
	return b
}

// ahead decodes Ahead, and leaves out what the checkpoint has passed.
func (p *progress) ahead() (positions []uint64) {
	position := uint64(0)
	for b := p.Ahead; len(b) > 0; {
		d, n := binary.Uvarint(b)
		if n <= 0 {
			return positions
		}
		if position, b = position+d, b[n:]; position > p.Checkpoint {
			positions = append(positions, position)
		}
	}
	return positions
}

// parkedEvent is the record of a parked event. The event itself is in the log.
type parkedEvent struct {
	Key            string             `json:"key,omitempty"`
	Stream         string             `json:"stream,omitempty"` // that it is in
	Link           *core.Origin       `json:"link,omitempty"`   // where the event was written, if it is a link
	RecordedMicros int64              `json:"recorded"`
	At             time.Time          `json:"at"`
	Cause          delivery.Cause     `json:"cause"`
	Reason         string             `json:"reason,omitempty"`
	Attempts       int                `json:"attempts"`
	Failures       []delivery.Failure `json:"failures,omitempty"`
}

// maxParkedBytes bounds the record of a parked event, so that as many as a machine
// parks at once fit a Commit.
const maxParkedBytes = 14 << 10

// parkedRecord is the record of an event that is to be parked.
func parkedRecord(p *delivery.Parked) (*parkedEvent, error) {
	r := &parkedEvent{
		Key: p.Key, RecordedMicros: p.RecordedMicros, At: moment(p.At), Cause: p.Cause, Reason: p.Reason,
		Attempts: p.Attempts, Failures: p.Failures,
	}
	return r, r.putPlace(p.Raw)
}

// encode forgets the oldest failures where all of them are too long.
func (p *parkedEvent) encode() ([]byte, error) {
	for {
		value, err := json.Marshal(p)
		if err != nil || len(value) <= maxParkedBytes || len(p.Failures) == 0 {
			return value, err
		}
		p.Failures = p.Failures[1:]
	}
}

// failedEvent is the record of an event that failed and is not finished.
type failedEvent struct {
	Replay    bool               `json:"replay,omitzero"`
	Attempts  int                `json:"attempts"`
	Failed    int                `json:"failed"`
	NotBefore time.Time          `json:"notBefore,omitzero"`
	Failures  []delivery.Failure `json:"failures,omitempty"`
}

// maxFailedBytes bounds the record of a failed event: there may be one for each event of a
// window.
const maxFailedBytes = 4 << 10

// encodeFailed forgets the oldest failures where all of them are too long.
func encodeFailed(e *delivery.FailedEvent) ([]byte, error) {
	r := failedEvent{Replay: e.Replay, Attempts: e.Attempts, Failed: e.Failed, NotBefore: e.NotBefore.UTC(), Failures: e.Failures}
	for {
		value, err := json.Marshal(&r)
		if err != nil || len(value) <= maxFailedBytes || len(r.Failures) == 0 {
			return value, err
		}
		r.Failures = r.Failures[1:]
	}
}

// failed are the failed events of an incarnation, in the order of positions.
func (r records) failed(ctx context.Context, id string) (events []delivery.FailedEvent, err error) {
	err = r.each(ctx, failedTable, id+"/", "", core.MaxReadEvents, func(record *core.Record) (bool, error) {
		e, err := failedIn(record)
		events = append(events, e)
		return true, err
	})
	return events, err
}

// failedIn is the failed event in its record.
func failedIn(record *core.Record) (delivery.FailedEvent, error) {
	var e failedEvent
	position, err := decodeEvent(failedTable, record, &e)
	return delivery.FailedEvent{
		Position: position, Replay: e.Replay, Attempts: e.Attempts, Failed: e.Failed, NotBefore: e.NotBefore, Failures: e.Failures,
	}, err
}

// decodeEvent decodes the record of an event.
func decodeEvent(table string, record *core.Record, value any) (position uint64, err error) {
	if position, err = keyPosition(record.Key); err == nil {
		err = decode(table, record, value)
	}
	return position, err
}

// positionKey is incarnation/position, in the order of positions.
func positionKey(id string, position uint64) string {
	return fmt.Sprintf("%s/%016x", id, position)
}

// keyPosition is the inverse of positionKey.
func keyPosition(key string) (uint64, error) {
	_, digits, _ := strings.Cut(key, "/")
	position, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0, core.Errorf(core.CodeInternal, "the record %q of a parked event: %w", key, err)
	}
	return position, nil
}

// records reads and writes them.
type records struct{ store Store }

// get is one record, or nil if there is none.
func (r records) get(ctx context.Context, table, key string) (*core.Record, error) {
	found, err := r.store.Records(ctx, core.RecordsRequest{Table: table, Keys: []string{key}, Limit: 1})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func decode(table string, record *core.Record, value any) error {
	if err := json.Unmarshal(record.Value, value); err != nil {
		return core.Errorf(core.CodeInternal, "the record %s/%s: %w", table, record.Key, err)
	}
	return nil
}

// incarnation is the definition of a name, or subscription_not_found.
func (r records) incarnation(ctx context.Context, name string) (*incarnation, error) {
	return r.incarnationOf(ctx, stored(name))
}

// incarnationOf is the definition of a key, or subscription_not_found.
func (r records) incarnationOf(ctx context.Context, key nameKey) (*incarnation, error) {
	table, name := key.record()
	record, err := r.get(ctx, table, name)
	if err != nil {
		return nil, err
	}
	return incarnationIn(key, record)
}

// record is where the definition of a key is stored.
func (k nameKey) record() (table, key string) {
	if k.unnamed != "" {
		return unnamedTable, k.name + "/" + k.unnamed
	}
	return definitionsTable, k.name
}

// incarnationIn is the definition of a key in its record, or subscription_not_found if
// there is none.
func incarnationIn(key nameKey, record *core.Record) (*incarnation, error) {
	table, name := key.record()
	if record == nil {
		return nil, core.Errorf(core.CodeSubscriptionNotFound, "there is no subscription %q", core.Clip(name))
	}
	l := &incarnation{key: key, revision: record.Revision}
	if err := decode(table, record, l); err != nil {
		return l, err
	}
	if _, err := core.ParseID(l.ID); err != nil { // it is part of keys
		return l, core.Errorf(core.CodeInternal, "the record %s/%s: the incarnation %q is not a UUID", table, name, core.Clip(l.ID))
	}
	return l, nil
}

func (r records) progress(ctx context.Context, id string) (p progress, revision uint64, err error) {
	record, err := r.get(ctx, progressTable, id)
	if err != nil {
		return p, 0, err
	}
	return progressIn(record)
}

// progressIn is the progress in its record, or subscription_not_found if there is none.
func progressIn(record *core.Record) (p progress, revision uint64, err error) {
	if record == nil {
		return p, 0, core.Errorf(core.CodeSubscriptionNotFound, "the subscription was deleted")
	}
	return p, record.Revision, decode(progressTable, record, &p)
}

// parked is the record of a parked event, or nil if it is not parked.
func (r records) parked(ctx context.Context, key string) (*parkedEvent, error) {
	record, err := r.get(ctx, parkedTable, key)
	if err != nil || record == nil {
		return nil, err
	}
	p := &parkedEvent{}
	return p, decode(parkedTable, record, p)
}

// parkedAfter calls do for each parked event of an incarnation behind a position, in order,
// until it is false; perPage is how many to read at a time.
func (r records) parkedAfter(ctx context.Context, id string, position uint64, perPage int, do func(position uint64, p *parkedEvent) (bool, error)) error {
	return r.each(ctx, parkedTable, id+"/", positionKey(id, position), perPage, func(record *core.Record) (bool, error) {
		var p parkedEvent
		at, err := decodeEvent(parkedTable, record, &p)
		if err != nil {
			return false, err
		}
		return do(at, &p)
	})
}

// each calls do for each record with a prefix behind a key, in order, until it is
// false.
func (r records) each(ctx context.Context, table, prefix, after string, perPage int, do func(*core.Record) (bool, error)) error {
	for {
		page, err := r.store.Records(ctx, core.RecordsRequest{Table: table, Prefix: prefix, After: after, Limit: perPage})
		if err != nil {
			return err
		}
		for i := range page {
			if more, err := do(&page[i]); err != nil || !more {
				return err
			}
		}
		if len(page) < perPage {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

// event reads the event at a position of a subscription's stream; ok is false if it
// is no longer there.
func (r records) event(ctx context.Context, stream string, position uint64) (b core.Batch, ok bool, err error) {
	page, err := r.store.Read(ctx, core.ReadRequest{Stream: core.All, From: position, System: core.IsSystem(stream), Limit: core.Limit{Events: 1}})
	switch {
	case err != nil:
		return core.Batch{}, false, err
	case page.Count > 0 && page.First == position:
		return page.Batch, true, nil
	case stream == core.All || position > page.Head:
		return core.Batch{}, false, nil
	}
	return r.link(ctx, stream, position)
}

// link reads a link, which $all passes over, as who follows its stream does.
func (r records) link(ctx context.Context, stream string, position uint64) (b core.Batch, ok bool, err error) {
	f, err := r.store.Follow(ctx, core.FollowRequest{Stream: stream, From: core.From{Kind: core.AfterPosition, N: position - 1}})
	if err != nil {
		return core.Batch{}, false, err
	}
	defer func() { _ = f.Close() }()
	for {
		d, err := f.Next(ctx, core.Limit{Events: 1, Bytes: 1})
		switch {
		case err != nil:
			return core.Batch{}, false, err
		case d.Count > 0 && d.First == position:
			return d.Batch, true, nil
		case d.Count > 0 || d.Live: // it is gone, or has expired
			return core.Batch{}, false, nil
		}
	}
}

// stateAt is the log's state. Of a log that others write to, too, a node may not have
// heard that it has reached a position that they have stored: then it asks.
func (o *Owner) stateAt(ctx context.Context, position uint64) (core.State, error) {
	if state := o.store.State(); position <= state.Head {
		return state, nil
	}
	page, err := o.store.Read(ctx, core.ReadRequest{Stream: core.All, From: position, Limit: core.Limit{Events: 1}})
	state := o.store.State()
	state.Head = max(state.Head, page.Head)
	return state, err
}

// put is an operation that writes a value in JSON.
func put(table, key string, expect core.Expect, value any) (core.RecordOp, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return core.RecordOp{}, core.Errorf(core.CodeInternal, "the record %s/%s: %w", table, key, err)
	}
	return core.RecordOp{Table: table, Key: key, Expect: expect, Value: text}, nil
}
