package host

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/trial"
)

// maxDryRuns bounds the dry runs at a time.
const maxDryRuns = 2

// DryRun has a version handle stored events as the binding would, or two versions, and writes
// nothing. It calls progress every now and then, and ends when ctx does. The errors are those of
// Versions and Programs, of plugins.DryRun.Validate and Admit, invalid_dry_run_range,
// too_many_dry_runs, dry_run_too_large, state_busy, and plugin_failed if a version does not start.
func (h *Host) DryRun(ctx context.Context, name string, d plugins.DryRun, progress func(plugins.DryRunProgress)) (plugins.DryRunResult, error) {
	if err := d.Validate(); err != nil {
		return plugins.DryRunResult{}, err
	}
	ctx, leave, err := h.enterDryRun(ctx)
	if err != nil {
		return plugins.DryRunResult{}, err
	}
	defer leave()
	old, err := h.present(ctx, name)
	if err != nil {
		return plugins.DryRunResult{}, err
	}
	r := &dryRun{Host: h, DryRun: d, name: name, old: old, show: d.Show}
	if r.show == 0 {
		r.show = plugins.DefaultShown
	}
	defer r.close()
	if err := r.prepare(ctx, progress); err != nil {
		return plugins.DryRunResult{}, err
	}
	result, err := r.run.Do(ctx)
	if err != nil {
		return result, core.AsError(err)
	}
	return result, r.compareStored(ctx, &result)
}

// enterDryRun takes one of the places of dry runs. Its context ends with the Host, which waits
// for leave.
func (h *Host) enterDryRun(ctx context.Context) (_ context.Context, leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, nil, core.Errorf(core.CodeShuttingDown, "the node shuts down")
	case h.dryRuns == maxDryRuns:
		return nil, nil, core.Errorf(core.CodeTooManyDryRuns, "%d dry runs are under way, which is the most", maxDryRuns)
	}
	h.dryRuns++
	h.running.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
		h.mu.Lock()
		h.dryRuns--
		h.mu.Unlock()
		h.running.Done()
	}, nil
}

// dryRun is a dry run under way.
type dryRun struct {
	*Host
	plugins.DryRun
	name string
	old  *binding // nil: the version is run as its manifest asks
	show int

	run    trial.Run
	closes []func()
}

// close frees what it has, the last first.
func (r *dryRun) close() {
	for i := len(r.closes) - 1; i >= 0; i-- {
		r.closes[i]()
	}
}

// prepare makes what is run.
func (r *dryRun) prepare(ctx context.Context, progress func(plugins.DryRunProgress)) error {
	first, err := r.bounds(ctx)
	if err != nil {
		return err
	}
	var base *trial.State
	if r.DryRun.State == plugins.StoredState {
		if base, err = r.copyState(ctx); err != nil {
			return err
		}
	}
	r.run.Count, r.run.Progress = r.Count, progress
	var comparison *trial.Comparison
	if r.Against != "" {
		comparison = trial.NewComparison(r.show)
		r.run.Comparison = comparison
	}
	input, err := r.version(ctx, r.DryRun.Version, base, comparison, false, &r.run.Tried)
	if err != nil {
		return err
	}
	if r.Against != "" {
		other, err := r.version(ctx, r.Against, base, comparison, true, &r.run.Against)
		if err != nil {
			return err
		}
		if other.Lanes != input.Lanes {
			return core.Errorf(core.CodeInvalidRequest, "version %q has %d lanes and version %q has %d: without a binding they cannot be compared", input.Version, input.Lanes, other.Version, other.Lanes)
		}
	}
	if r.run.Range, err = r.events(ctx, input, r.run.From, r.run.To); err != nil {
		return err
	}
	if r.DryRun.State == plugins.StateBefore && first < r.run.From {
		r.run.Before, err = r.events(ctx, input, first, r.run.From-1)
	}
	return err
}

// bounds finds the range, and the position at which the binding began.
func (r *dryRun) bounds(ctx context.Context) (first uint64, err error) {
	// The head is read: in a ring, another node may just have written there.
	page, err := r.config.Store.Read(ctx, core.ReadRequest{Stream: core.All, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1}})
	if err != nil {
		return 0, err
	}
	head := page.Head
	if first = 1; r.old != nil {
		first = r.old.Start + 1
	}
	from, to := r.From, r.To
	if from == 0 {
		from = min(first, max(head, 1))
	}
	if to == 0 {
		to = head
	}
	switch {
	case head == 0:
		err = core.Errorf(core.CodeInvalidDryRunRange, "the log has no events")
	case from > head:
		err = core.Errorf(core.CodeInvalidDryRunRange, "the range begins at position %d, the log ends at %d", from, head)
	case to > head:
		err = core.Errorf(core.CodeInvalidDryRunRange, "the range ends at position %d, the log at %d", to, head)
	}
	r.run.From, r.run.To = from, to
	return first, err
}

// version makes a version that handles events, and returns what it is deployed as.
func (r *dryRun) version(ctx context.Context, name string, base *trial.State, c *trial.Comparison, against bool, to **trial.Version) (*plugins.Binding, error) {
	b, v, err := r.resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	program, err := r.config.Programs.Load(ctx, v)
	if err != nil {
		return nil, err
	}
	r.closes = append(r.closes, func() { _ = program.Close() }) // it frees memory only
	config := trial.Config{Binding: b, Program: program, Read: r.config.Store.Read, Show: r.show, From: r.run.From, Yield: r.yield}
	if base != nil {
		config.State = base.Copy()
	}
	if c != nil {
		config.Watch = c.Watch(against)
	}
	*to = trial.New(config)
	r.closes = append(r.closes, (*to).Close)
	return b, nil
}

// resolve returns what a version would be deployed as.
func (r *dryRun) resolve(ctx context.Context, name string) (*plugins.Binding, plugins.Version, error) {
	d := plugins.Deploy{Version: name}
	var old *plugins.Binding
	if r.old != nil {
		old = &r.old.Binding
	}
	plugin, version, err := d.Which(r.name, old)
	if err != nil {
		return nil, plugins.Version{}, err
	}
	v, err := r.config.Versions.Version(ctx, plugin, version)
	if err != nil {
		return nil, v, err
	}
	if old == nil {
		d.Grants = append([]string{}, v.Manifest.Capabilities...)
	}
	b, err := resolved(&d, r.name, old, &v)
	if err == nil && r.Admit != nil {
		err = r.Admit(&b)
	}
	if err == nil {
		err = r.config.Versions.CheckConfig(&v, b.Config)
	}
	return &b, v, err
}

// events are those of the binding's input in a range.
func (r *dryRun) events(ctx context.Context, b *plugins.Binding, from, to uint64) (trial.Source, error) {
	d, err := b.Input.Definition()
	if err != nil {
		return nil, err
	}
	source, err := trial.NewRange(ctx, r.config.Store, &d, r.config.Subscriptions.Programs(), from, to)
	if err != nil {
		return nil, err
	}
	r.closes = append(r.closes, source.Close)
	return source, nil
}

// compareStored adds how the state differs from what the binding has stored.
func (r *dryRun) compareStored(ctx context.Context, result *plugins.DryRunResult) error {
	if r.old == nil {
		return nil
	}
	d, err := trial.Diff(ctx, r.old.Lanes, r.storedPages(r.old), r.run.Tried.State().Pages, r.show)
	result.Tried.Stored = &d
	return err
}

// storedPages are the stored entries of a binding's lanes.
func (h *Host) storedPages(b *binding) trial.Pages {
	return func(ctx context.Context, lane int, after string) ([]effects.Entry, error) {
		return h.storedPage(ctx, b, lane, "", after, entriesPage)
	}
}

// storedPage is a page of what a lane has stored.
func (h *Host) storedPage(ctx context.Context, b *binding, lane int, prefix, after string, limit int) ([]effects.Entry, error) {
	of := statePrefix(lane)
	found, err := h.config.Store.Records(ctx, core.RecordsRequest{
		Table: stateTable(b.Name, b.Generation), Prefix: of + prefix, After: of + after, Limit: limit,
	})
	page := make([]effects.Entry, len(found))
	for i := range found {
		page[i] = effects.Entry{Key: found[i].Key[len(of):], Value: found[i].Value}
	}
	return page, err
}

// copyTries is how often a state is copied that has changed meanwhile.
const copyTries = 3

// copyState copies what the binding has stored, as it was between two batches.
func (r *dryRun) copyState(ctx context.Context) (*trial.State, error) {
	if r.old == nil {
		return nil, core.Errorf(core.CodeBindingNotFound, "there is no plugin binding %q whose state the dry run could begin with", core.Clip(r.name))
	}
	for range copyTries {
		before, err := r.lanes(ctx, r.old)
		if err != nil {
			return nil, err
		}
		state, err := trial.CopyState(ctx, r.old.Lanes, r.storedPages(r.old))
		if err != nil {
			return nil, err
		}
		after, err := r.lanes(ctx, r.old)
		if err != nil {
			return nil, err
		}
		same := true
		for i := range before {
			same = same && before[i].revision == after[i].revision
		}
		if same {
			return state, nil
		}
	}
	return nil, core.Errorf(core.CodeStateBusy, "binding %q has changed its state each of the %d times that it was copied", core.Clip(r.name), copyTries)
}

const (
	// yieldFor is how long a dry run waits, before each batch, for bindings that have something to
	// handle; it looks every yieldEvery.
	yieldFor   = 10 * time.Millisecond
	yieldEvery = time.Millisecond
)

// yield lets bindings go first.
func (h *Host) yield(ctx context.Context) {
	for waited := time.Duration(0); h.handling.Load() > 0 && waited < yieldFor && ctx.Err() == nil; waited += yieldEvery {
		sleep(ctx, yieldEvery)
	}
}
