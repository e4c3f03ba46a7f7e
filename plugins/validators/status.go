package validators

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// list returns the validators that are stored, in the order of their names.
func (v *Validators) list(ctx context.Context, r plugins.ListRequest) (all []stored, err error) {
	for {
		page, err := v.config.Store.Records(ctx, core.RecordsRequest{Table: plugins.ValidatorsTable, Prefix: r.Prefix, After: r.After, Limit: core.MaxReadEvents})
		if err != nil {
			return nil, err
		}
		for i := range page {
			if all = append(all, decode(&page[i])); r.Limit > 0 && len(all) > r.Limit {
				return all, nil
			}
		}
		if len(page) < core.MaxReadEvents {
			return all, nil
		}
		r.After = page[len(page)-1].Key
	}
}

// Binding returns a validator as it is stored. The errors are binding_not_found and store_corrupt.
func (v *Validators) Binding(ctx context.Context, name string) (plugins.Binding, error) {
	s, err := v.stored(ctx, name)
	return s.Binding, err
}

// Status returns a validator, and how it is doing at this node. The error is binding_not_found.
func (v *Validators) Status(ctx context.Context, name string) (plugins.Status, error) {
	s, err := v.present(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	return v.status(&s), nil
}

// List returns validators in the order of their names, and how they are doing at this node.
func (v *Validators) List(ctx context.Context, r plugins.ListRequest) (plugins.BindingPage, error) {
	if err := core.ValidateListing(r.Prefix, r.After); err != nil {
		return plugins.BindingPage{}, err
	}
	if r.Limit <= 0 || r.Limit > core.MaxReadEvents {
		r.Limit = core.MaxReadEvents
	}
	all, err := v.list(ctx, r)
	page := plugins.BindingPage{Bindings: []plugins.Status{}, End: len(all) <= r.Limit}
	for i := range all[:min(len(all), r.Limit)] {
		page.Bindings = append(page.Bindings, v.status(&all[i]))
	}
	return page, err
}

// InForce returns the validators that are in force here.
func (v *Validators) InForce() []plugins.Status {
	list := *v.inForce.Load()
	all := make([]plugins.Status, len(list))
	for i, x := range list {
		all[i] = v.status(&x.stored)
	}
	return all
}

func (v *Validators) status(s *stored) plugins.Status {
	is := plugins.Status{Binding: s.Binding, State: plugins.Starting}
	if s.Previous != "" {
		is.Rollback = &plugins.RollbackPlan{To: plugins.ToVersion, Generation: s.Generation, Version: s.Previous}
	}
	var present *validator
	var why error // it cannot judge
	for _, x := range *v.inForce.Load() {
		if x.stored.Name == s.Name {
			present, why = x, x.reason()
		}
	}
	switch {
	case s.wrong != nil:
		is.State, is.Reason = plugins.Broken, core.AsError(s.refusesAll()).Detail
	case s.Paused:
		is.State, is.Reason = plugins.Paused, "not in force: appends to its streams are not judged until it is resumed"
	case present == nil:
		is.Reason = "not in force at this node yet"
	case !present.stored.same(s):
		is.Reason = "not in force at this node yet; version " + present.stored.Version + " is"
		if why := v.whyNot(s); why != nil {
			is.Reason += ": " + core.AsError(why).Detail
		}
	case why != nil:
		is.State, is.Reason = plugins.Broken, core.AsError(why).Detail
	default:
		is.State = plugins.Running
	}
	v.mu.Lock()
	t := v.totals[s.Name]
	v.mu.Unlock()
	if t != nil {
		is.Totals = t.snapshot()
	}
	return is
}

func (t *totals) snapshot() plugins.Totals {
	return plugins.Totals{
		Batches: t.judged.Load(), Events: t.events.Load(), Refused: t.refused.Load(), Failures: t.failed.Load(),
		Starts: t.starts.Load(), Fuel: t.fuel.Load(), Seconds: time.Duration(t.nanoseconds.Load()).Seconds(),
	}
}

// none is the error of what a validator does not have.
func none(name, what string) error {
	return core.Errorf(core.CodeInvalidRequest, "binding %q is a validator, which has no %s", clip(name, maxNameBytes), what)
}

// Rebuild is refused: a validator has handled nothing.
func (v *Validators) Rebuild(_ context.Context, name string, _ plugins.Rebuild) (plugins.Status, error) {
	return plugins.Status{}, none(name, "generations: deploy another version, and it judges what is appended from then on")
}

// Switch is refused.
func (v *Validators) Switch(_ context.Context, name string) (plugins.Status, error) {
	return plugins.Status{}, none(name, "generations")
}

// CancelRebuild is refused.
func (v *Validators) CancelRebuild(_ context.Context, name string) (plugins.Status, error) {
	return plugins.Status{}, none(name, "generations")
}

// DropBefore is refused.
func (v *Validators) DropBefore(_ context.Context, name string) (plugins.Status, error) {
	return plugins.Status{}, none(name, "generations")
}

// DryRun is refused: a validator handles no stored events.
func (v *Validators) DryRun(_ context.Context, name string, _ plugins.DryRun, _ func(plugins.DryRunProgress)) (plugins.DryRunResult, error) {
	return plugins.DryRunResult{}, none(name, "dry runs: it judges what is appended, and no stored events")
}

// Shadow is refused.
func (v *Validators) Shadow(_ context.Context, name string, _ plugins.Shadow) (plugins.Status, error) {
	return plugins.Status{}, none(name, "shadow: it judges what is appended")
}

// EndShadow is refused.
func (v *Validators) EndShadow(_ context.Context, name string) (plugins.Status, error) {
	return plugins.Status{}, none(name, "shadow")
}

// Differences is refused.
func (v *Validators) Differences(_ context.Context, name string, _ plugins.ShadowRequest) (plugins.ShadowReport, error) {
	return plugins.ShadowReport{}, none(name, "shadow")
}

// Get is refused.
func (v *Validators) Get(_ context.Context, name string, _ plugins.KeyRequest) (plugins.Entry, error) {
	return plugins.Entry{}, none(name, "state")
}

// Entries is refused.
func (v *Validators) Entries(_ context.Context, name string, _ plugins.StateRequest) (plugins.StatePage, error) {
	return plugins.StatePage{}, none(name, "state")
}

// Query is refused.
func (v *Validators) Query(_ context.Context, name string, _ plugins.Query) (plugins.Answer, error) {
	return plugins.Answer{}, none(name, "state")
}

// Poisoned is refused: a validator parks nothing.
func (v *Validators) Poisoned(_ context.Context, name string, _ plugins.PoisonRequest) (plugins.PoisonPage, error) {
	return plugins.PoisonPage{}, none(name, "parked events")
}

// Poison is refused.
func (v *Validators) Poison(_ context.Context, name string, _ uint64) (plugins.PoisonEvent, error) {
	return plugins.PoisonEvent{}, none(name, "parked events")
}

// RunPoison is refused.
func (v *Validators) RunPoison(_ context.Context, name string, _ uint64, _ plugins.PoisonRun) (plugins.PoisonTrial, error) {
	return plugins.PoisonTrial{}, none(name, "parked events")
}

// RetryPoison is refused.
func (v *Validators) RetryPoison(_ context.Context, name string, _ uint64) (plugins.PoisonRetry, error) {
	return plugins.PoisonRetry{}, none(name, "parked events")
}

// DropPoison is refused.
func (v *Validators) DropPoison(_ context.Context, name string, _ uint64) error {
	return none(name, "parked events")
}

// Watch is refused.
func (v *Validators) Watch(_ context.Context, name string, _ plugins.WatchRequest) (plugins.Watch, error) {
	return nil, none(name, "state")
}
