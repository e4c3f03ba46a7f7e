package subscriptions

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// loaded is what is stored of a subscription, for a host to begin with.
type loaded struct {
	*incarnation
	progress progress
	revision uint64 // of progress
	parked   []delivery.ParkedRef
	failed   []delivery.FailedEvent
	replays  bool // there may be parked events to replay
}

// loader loads what is stored of subscriptions, with one goroutine for all those of an Owner.
// Callers that come while a load is under way share the next one. A load has the same number
// of requests for one subscription as for maxLoaded: thousands may move at once, and storage
// also serves those that stay.
type loader struct {
	records records
	work    chan struct{}   // holds 1: subscriptions wait
	closed  <-chan struct{} // no more is loaded

	mu      sync.Mutex // protects the field below
	waiting []*load
}

// maxLoaded bounds the subscriptions of one load.
const maxLoaded = 256

// load is one subscription of a load.
type load struct {
	key  nameKey
	done chan struct{} // closed when the fields below are written
	loaded
	// parkedAfter and failedAfter are the keys behind which records are left to read; ""
	// if there are none.
	parkedAfter, failedAfter string
	err                      error
}

func makeLoader(r records, closed <-chan struct{}) loader {
	return loader{records: r, work: make(chan struct{}, 1), closed: closed}
}

// load returns what is stored of a subscription. The error is subscription_not_found if
// there is none.
func (k *loader) load(ctx context.Context, key nameKey) (*loaded, error) {
	l := &load{key: key, done: make(chan struct{})}
	k.mu.Lock()
	k.waiting = append(k.waiting, l)
	k.mu.Unlock()
	wake(k.work)
	select {
	case <-l.done:
	case <-ctx.Done():
		k.drop(l)
		return nil, core.AsError(ctx.Err())
	case <-k.closed:
		return nil, errClosed()
	}
	if l.err != nil {
		return nil, l.err
	}
	return &l.loaded, k.rest(ctx, l)
}

// drop forgets a load that has not begun.
func (k *loader) drop(l *load) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting = slices.DeleteFunc(k.waiting, func(other *load) bool { return other == l })
}

// run loads what waits, until ctx ends, which closes closed.
func (k *loader) run(ctx context.Context) {
	for {
		select {
		case <-k.work:
		case <-ctx.Done():
			return
		}
		for loads := k.take(); len(loads) > 0; loads = k.take() {
			k.together(ctx, loads)
		}
	}
}

// take takes the next subscriptions to load. No two have the same key: a caller of load has
// it locked.
func (k *loader) take() []*load {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(len(k.waiting), maxLoaded)
	loads := slices.Clone(k.waiting[:n])
	k.waiting = slices.Delete(k.waiting, 0, n)
	return loads
}

// together loads subscriptions, and answers the callers of load.
func (k *loader) together(ctx context.Context, loads []*load) {
	for _, step := range []func(context.Context, []*load) error{k.definitions, k.progresses, k.parked, k.failed, k.replays} {
		left := slices.DeleteFunc(slices.Clone(loads), func(l *load) bool { return l.err != nil })
		if len(left) == 0 {
			break
		}
		if err := step(ctx, left); err != nil {
			if ctx.Err() != nil {
				err = errClosed()
			}
			for _, l := range left {
				l.err = err
			}
		}
	}
	for _, l := range loads {
		close(l.done)
	}
}

// definitions reads their definitions.
func (k *loader) definitions(ctx context.Context, loads []*load) error {
	byTable := map[string][]*load{}
	for _, l := range loads {
		table, _ := l.key.record()
		byTable[table] = append(byTable[table], l)
	}
	byID := make(map[string]*load, len(loads))
	for table, some := range byTable {
		found, err := k.byKey(ctx, table, some, func(l *load) string { _, key := l.key.record(); return key })
		if err != nil {
			return err
		}
		for _, l := range some {
			l.define(found, byID)
		}
	}
	return nil
}

// define takes the definition of a subscription from those that were found.
func (l *load) define(found map[string]*core.Record, byID map[string]*load) {
	_, key := l.key.record()
	if l.incarnation, l.err = incarnationIn(l.key, found[key]); l.err != nil {
		return
	}
	if other := byID[l.ID]; other != nil { // nobody knows whose the other records are
		l.err = core.Errorf(core.CodeInternal, "subscriptions %q and %q have one incarnation, %s", core.Clip(l.key.name), core.Clip(other.key.name), l.ID)
		other.err = l.err
	}
	byID[l.ID] = l
}

// progresses reads how far they are.
func (k *loader) progresses(ctx context.Context, loads []*load) error {
	found, err := k.byKey(ctx, progressTable, loads, func(l *load) string { return l.ID })
	if err != nil {
		return err
	}
	for _, l := range loads {
		l.progress, l.revision, l.err = progressIn(found[l.ID])
	}
	return nil
}

// byKey reads one record for each of some subscriptions.
func (k *loader) byKey(ctx context.Context, table string, loads []*load, key func(*load) string) (map[string]*core.Record, error) {
	keys := make([]string, len(loads))
	for i, l := range loads {
		keys[i] = key(l)
	}
	records, err := k.records.store.Records(ctx, core.RecordsRequest{Table: table, Keys: keys, Limit: len(keys)})
	found := make(map[string]*core.Record, len(records))
	for i := range records {
		found[records[i].Key] = &records[i]
	}
	return found, err
}

// parked reads which events are parked, as far as machines have to know.
func (k *loader) parked(ctx context.Context, loads []*load) error {
	after := func(l *load) string {
		if l.Definition.OnPark == delivery.HoldKey {
			return positionKey(l.ID, 0)
		}
		return positionKey(l.ID, l.progress.Checkpoint)
	}
	return k.inRanges(ctx, parkedTable, loads, after, (*load).addParked, func(l *load, last string) { l.parkedAfter = last })
}

func (l *load) addParked(record *core.Record) (bool, error) {
	var p parkedEvent
	position, err := decodeEvent(parkedTable, record, &p)
	l.parked = append(l.parked, delivery.ParkedRef{Position: position, Key: p.Key})
	return true, err
}

// failed reads the events whose attempts and backoff go on.
func (k *loader) failed(ctx context.Context, loads []*load) error {
	after := func(l *load) string { return l.ID + "/" }
	return k.inRanges(ctx, failedTable, loads, after, (*load).addFailed, func(l *load, last string) { l.failedAfter = last })
}

func (l *load) addFailed(record *core.Record) (bool, error) {
	e, err := failedIn(record)
	l.failed = append(l.failed, e)
	return true, err
}

// replays reads whether there are parked events to replay.
func (k *loader) replays(ctx context.Context, loads []*load) error {
	after := func(l *load) string { return l.ID + "/" }
	add := func(l *load, _ *core.Record) (bool, error) {
		l.replays = true
		return true, nil
	}
	return k.inRanges(ctx, replaysTable, loads, after, add, func(l *load, _ string) { l.replays = true })
}

// inRanges reads one page of a table's records of events: those of all subscriptions, each
// behind a key. It calls add for each record, and left for each subscription that the page
// has no room for, with the key behind which its other records are.
func (k *loader) inRanges(ctx context.Context, table string, loads []*load, after func(*load) string,
	add func(*load, *core.Record) (bool, error), left func(l *load, last string)) error {
	slices.SortFunc(loads, func(a, b *load) int { return strings.Compare(a.ID, b.ID) })
	ranges := make([]core.KeyRange, len(loads))
	for i, l := range loads {
		ranges[i] = core.KeyRange{After: after(l), Before: l.ID + "0"} // which comes after "/"
	}
	page, err := k.records.store.Records(ctx, core.RecordsRequest{Table: table, Ranges: ranges, Limit: core.MaxReadEvents})
	if err != nil {
		return err
	}
	i := 0
	for j := range page {
		for ranges[i].Before < page[j].Key {
			i++
		}
		if _, err := add(loads[i], &page[j]); err != nil {
			loads[i].err = err
		}
	}
	if len(page) < core.MaxReadEvents {
		return nil
	}
	last := page[len(page)-1].Key
	for i, l := range loads {
		if ranges[i].Before > last {
			left(l, max(ranges[i].After, last))
		}
	}
	return nil
}

// rest reads what one load had no room for.
func (k *loader) rest(ctx context.Context, l *load) error {
	for _, part := range []struct {
		table, after string
		add          func(*core.Record) (bool, error)
	}{{parkedTable, l.parkedAfter, l.addParked}, {failedTable, l.failedAfter, l.addFailed}} {
		if part.after == "" {
			continue
		}
		if err := k.records.each(ctx, part.table, l.ID+"/", part.after, core.MaxReadEvents, part.add); err != nil {
			return err
		}
	}
	return nil
}
