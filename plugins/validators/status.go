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

// Uses lists the validators that run a version, or would go back to it. One whose record cannot be read
// may use any: the error is plugin_in_use then.
func (v *Validators) Uses(ctx context.Context, plugin, version string) (names []string, err error) {
	all, err := v.list(ctx, plugins.ListRequest{})
	for i := range all {
		switch s := &all[i]; {
		case s.wrong != nil:
			return nil, core.Errorf(core.CodePluginInUse, "version %q of plugin %q may be in use: %s", version, plugin, core.AsError(s.refusesAll()).Detail)
		case s.Plugin == plugin && (s.Version == version || s.Previous == version):
			names = append(names, s.Name)
		}
	}
	return names, err
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
