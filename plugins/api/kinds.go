package api

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// byKind are the bindings of all kinds: validators, and those with a subscription. No name is
// in both.
type byKind struct {
	handlers, validators Bindings
	versions             Registry
}

// of are the Bindings that have one of a name, or handlers if none have.
func (k byKind) of(ctx context.Context, name string) Bindings {
	if _, err := k.validators.Binding(ctx, name); errors.Is(err, core.CodeBindingNotFound) {
		return k.handlers
	}
	return k.validators // also if it cannot be read: they say why
}

// Deploy is Bindings.Deploy. The version of a new binding says what it is.
func (k byKind) Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error) {
	to := k.of(ctx, name)
	if _, err := to.Binding(ctx, name); !errors.Is(err, core.CodeBindingNotFound) {
		return to.Deploy(ctx, name, d)
	}
	plugin, version, err := d.Which(name, nil)
	if err != nil {
		return plugins.Status{}, err
	}
	v, err := k.versions.Version(ctx, plugin, version)
	if err != nil {
		return plugins.Status{}, err
	}
	if v.Manifest.Kind == plugins.KindValidate {
		to = k.validators
	}
	return to.Deploy(ctx, name, d)
}

// Status is Bindings.Status.
func (k byKind) Status(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).Status(ctx, name)
}

// Binding is Bindings.Binding.
func (k byKind) Binding(ctx context.Context, name string) (plugins.Binding, error) {
	return k.of(ctx, name).Binding(ctx, name)
}

// List is Bindings.List.
func (k byKind) List(ctx context.Context, r plugins.ListRequest) (plugins.BindingPage, error) {
	page, err := k.handlers.List(ctx, r)
	if err != nil {
		return page, err
	}
	others, err := k.validators.List(ctx, r)
	if err != nil {
		return page, err
	}
	// Of a list that goes on, what is behind its page is not known yet.
	last := func(p *plugins.BindingPage) string {
		if p.End || len(p.Bindings) == 0 {
			return ""
		}
		return p.Bindings[len(p.Bindings)-1].Name
	}
	upTo := last(&page)
	if other := last(&others); upTo == "" || other != "" && other < upTo {
		upTo = other
	}
	all := slices.Concat(page.Bindings, others.Bindings)
	slices.SortFunc(all, func(a, b plugins.Status) int { return cmp.Compare(a.Name, b.Name) })
	end := page.End && others.End
	if upTo != "" {
		all = slices.DeleteFunc(all, func(s plugins.Status) bool { return s.Name > upTo })
	}
	if limit := pageOf(r.Limit); len(all) > limit {
		all, end = all[:limit], false
	}
	return plugins.BindingPage{Bindings: all, End: end}, nil
}

func pageOf(limit int) int {
	if limit <= 0 || limit > core.MaxReadEvents {
		return core.MaxReadEvents
	}
	return limit
}

// Delete is Bindings.Delete.
func (k byKind) Delete(ctx context.Context, name string) error {
	return k.of(ctx, name).Delete(ctx, name)
}

// Pause is Controls.Pause.
func (k byKind) Pause(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).Pause(ctx, name)
}

// Resume is Controls.Resume.
func (k byKind) Resume(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).Resume(ctx, name)
}

// Rollback is Controls.Rollback.
func (k byKind) Rollback(ctx context.Context, name string, r plugins.Rollback) (plugins.Status, error) {
	return k.of(ctx, name).Rollback(ctx, name, r)
}

// Rebuild is Controls.Rebuild.
func (k byKind) Rebuild(ctx context.Context, name string, r plugins.Rebuild) (plugins.Status, error) {
	return k.of(ctx, name).Rebuild(ctx, name, r)
}

// Switch is Controls.Switch.
func (k byKind) Switch(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).Switch(ctx, name)
}

// CancelRebuild is Controls.CancelRebuild.
func (k byKind) CancelRebuild(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).CancelRebuild(ctx, name)
}

// DropBefore is Controls.DropBefore.
func (k byKind) DropBefore(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).DropBefore(ctx, name)
}

// Get is State.Get.
func (k byKind) Get(ctx context.Context, name string, r plugins.KeyRequest) (plugins.Entry, error) {
	return k.of(ctx, name).Get(ctx, name, r)
}

// Entries is State.Entries.
func (k byKind) Entries(ctx context.Context, name string, r plugins.StateRequest) (plugins.StatePage, error) {
	return k.of(ctx, name).Entries(ctx, name, r)
}

// Query is State.Query.
func (k byKind) Query(ctx context.Context, name string, q plugins.Query) (plugins.Answer, error) {
	return k.of(ctx, name).Query(ctx, name, q)
}

// Shadow is Trials.Shadow.
func (k byKind) Shadow(ctx context.Context, name string, r plugins.Shadow) (plugins.Status, error) {
	return k.of(ctx, name).Shadow(ctx, name, r)
}

// EndShadow is Trials.EndShadow.
func (k byKind) EndShadow(ctx context.Context, name string) (plugins.Status, error) {
	return k.of(ctx, name).EndShadow(ctx, name)
}

// Differences is Trials.Differences.
func (k byKind) Differences(ctx context.Context, name string, r plugins.ShadowRequest) (plugins.ShadowReport, error) {
	return k.of(ctx, name).Differences(ctx, name, r)
}

// Watch is State.Watch.
func (k byKind) Watch(ctx context.Context, name string, r plugins.WatchRequest) (plugins.Watch, error) {
	return k.of(ctx, name).Watch(ctx, name, r)
}

// DryRun is Trials.DryRun.
func (k byKind) DryRun(ctx context.Context, name string, d plugins.DryRun, progress func(plugins.DryRunProgress)) (plugins.DryRunResult, error) {
	return k.of(ctx, name).DryRun(ctx, name, d, progress)
}

// Poisoned is Workbench.Poisoned.
func (k byKind) Poisoned(ctx context.Context, name string, r plugins.PoisonRequest) (plugins.PoisonPage, error) {
	return k.of(ctx, name).Poisoned(ctx, name, r)
}

// Poison is Workbench.Poison.
func (k byKind) Poison(ctx context.Context, name string, position uint64) (plugins.PoisonEvent, error) {
	return k.of(ctx, name).Poison(ctx, name, position)
}

// RunPoison is Workbench.RunPoison.
func (k byKind) RunPoison(ctx context.Context, name string, position uint64, r plugins.PoisonRun) (plugins.PoisonTrial, error) {
	return k.of(ctx, name).RunPoison(ctx, name, position, r)
}

// RetryPoison is Workbench.RetryPoison.
func (k byKind) RetryPoison(ctx context.Context, name string, position uint64) (plugins.PoisonRetry, error) {
	return k.of(ctx, name).RetryPoison(ctx, name, position)
}

// DropPoison is Workbench.DropPoison.
func (k byKind) DropPoison(ctx context.Context, name string, position uint64) error {
	return k.of(ctx, name).DropPoison(ctx, name, position)
}
