package api

import (
	"context"
	"errors"
	"slices"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/registry"
)

// registryGuard is a Registry for the principal of a call's context, whose names bind what it
// uploads and deletes.
type registryGuard struct{ Registry }

// Upload is Registry.Upload.
func (g registryGuard) Upload(ctx context.Context, u registry.Upload) (v plugins.Version, created bool, err error) {
	if err := access.Check(ctx, access.UploadPlugins, u.Plugin); err != nil {
		return v, false, err
	}
	return g.Registry.Upload(ctx, u)
}

// Delete is Registry.Delete.
func (g registryGuard) Delete(ctx context.Context, plugin, version string) error {
	if err := access.Check(ctx, access.UploadPlugins, plugin); err != nil {
		return err
	}
	return g.Registry.Delete(ctx, plugin, version)
}

// bindingGuard is Bindings that do for the principal of a call's context what that may do.
// What it is granted must cover what a binding reads and is granted: to deploy one, or to see
// what it made of events, in its state, its logs and the reasons of its failures; and for a
// plugin-author also to steer it.
type bindingGuard struct{ Bindings }

// Deploy is Bindings.Deploy.
func (g bindingGuard) Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error) {
	p := access.Of(ctx)
	if err := p.Check(access.DeployPlugins, name); err != nil {
		return plugins.Status{}, err
	}
	d.Admit = admit(p)
	return g.Bindings.Deploy(ctx, name, d)
}

// admit admits what a principal may make of a binding.
func admit(p *access.Principal) func(was, is *plugins.Binding) error {
	return func(was, is *plugins.Binding) error {
		if was != nil { // whose state it goes on with
			if err := covers(p, was); err != nil {
				return err
			}
		}
		return covers(p, is)
	}
}

// Status is Bindings.Status.
func (g bindingGuard) Status(ctx context.Context, name string) (plugins.Status, error) {
	s, err := g.Bindings.Status(ctx, name)
	if err == nil {
		show(access.Of(ctx), &s)
	}
	return s, err
}

// List is Bindings.List.
func (g bindingGuard) List(ctx context.Context, r plugins.ListRequest) (plugins.BindingPage, error) {
	page, err := g.Bindings.List(ctx, r)
	for i := range page.Bindings {
		show(access.Of(ctx), &page.Bindings[i])
	}
	return page, err
}

// Delete is Bindings.Delete.
func (g bindingGuard) Delete(ctx context.Context, name string) error {
	if err := g.checkSteer(ctx, name); err != nil {
		return err
	}
	return g.Bindings.Delete(ctx, name)
}

// Pause is Controls.Pause.
func (g bindingGuard) Pause(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.Pause)
}

// Resume is Controls.Resume.
func (g bindingGuard) Resume(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.Resume)
}

// Rollback is Controls.Rollback. A plugin-author gets no generation back that was granted more.
func (g bindingGuard) Rollback(ctx context.Context, name string, r plugins.Rollback) (plugins.Status, error) {
	if p := access.Of(ctx); p.Role == access.PluginAuthor {
		r.Admit = admit(p)
	}
	return g.steer(ctx, name, func(ctx context.Context, name string) (plugins.Status, error) {
		return g.Bindings.Rollback(ctx, name, r)
	})
}

// Switch is Generations.Switch.
func (g bindingGuard) Switch(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.Switch)
}

// CancelRebuild is Generations.CancelRebuild.
func (g bindingGuard) CancelRebuild(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.CancelRebuild)
}

// DropBefore is Generations.DropBefore.
func (g bindingGuard) DropBefore(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.DropBefore)
}

// Rebuild is Generations.Rebuild. One with another version is a deploy, too.
func (g bindingGuard) Rebuild(ctx context.Context, name string, r plugins.Rebuild) (plugins.Status, error) {
	if p := access.Of(ctx); r.Version != "" {
		if err := p.Check(access.DeployPlugins, name); err != nil {
			return plugins.Status{}, err
		}
		r.Admit = admit(p)
	}
	return g.steer(ctx, name, func(ctx context.Context, name string) (plugins.Status, error) {
		return g.Bindings.Rebuild(ctx, name, r)
	})
}

// Get is State.Get.
func (g bindingGuard) Get(ctx context.Context, name string, r plugins.KeyRequest) (plugins.Entry, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.Entry{}, err
	}
	return g.Bindings.Get(ctx, name, r)
}

// Entries is State.Entries.
func (g bindingGuard) Entries(ctx context.Context, name string, r plugins.StateRequest) (plugins.StatePage, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.StatePage{}, err
	}
	return g.Bindings.Entries(ctx, name, r)
}

// Query is State.Query.
func (g bindingGuard) Query(ctx context.Context, name string, q plugins.Query) (plugins.Answer, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.Answer{}, err
	}
	return g.Bindings.Query(ctx, name, q)
}

// Watch is State.Watch.
func (g bindingGuard) Watch(ctx context.Context, name string, r plugins.WatchRequest) (plugins.Watch, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return nil, err
	}
	return g.Bindings.Watch(ctx, name, r)
}

// DryRun is Trials.DryRun. The principal must be granted what the binding is that the version would
// be deployed as.
func (g bindingGuard) DryRun(ctx context.Context, name string, d plugins.DryRun, progress func(plugins.DryRunProgress)) (plugins.DryRunResult, error) {
	p := access.Of(ctx)
	if err := p.Check(access.SeePluginState, ""); err != nil {
		return plugins.DryRunResult{}, err
	}
	d.Admit = func(b *plugins.Binding) error { return covers(p, b) }
	return g.Bindings.DryRun(ctx, name, d, progress)
}

// Poisoned is Workbench.Poisoned.
func (g bindingGuard) Poisoned(ctx context.Context, name string, r plugins.PoisonRequest) (plugins.PoisonPage, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.PoisonPage{}, err
	}
	return g.Bindings.Poisoned(ctx, name, r)
}

// Poison is Workbench.Poison.
func (g bindingGuard) Poison(ctx context.Context, name string, position uint64) (plugins.PoisonEvent, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.PoisonEvent{}, err
	}
	return g.Bindings.Poison(ctx, name, position)
}

// RunPoison is Workbench.RunPoison. The principal must be granted what the binding is, and what it
// would be with the version.
func (g bindingGuard) RunPoison(ctx context.Context, name string, position uint64, r plugins.PoisonRun) (plugins.PoisonTrial, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.PoisonTrial{}, err
	}
	p := access.Of(ctx)
	r.Admit = func(b *plugins.Binding) error { return covers(p, b) }
	return g.Bindings.RunPoison(ctx, name, position, r)
}

// RetryPoison is Workbench.RetryPoison. The reason is for who is granted what the binding reads.
func (g bindingGuard) RetryPoison(ctx context.Context, name string, position uint64) (plugins.PoisonRetry, error) {
	if err := g.checkSteer(ctx, name); err != nil {
		return plugins.PoisonRetry{}, err
	}
	retried, err := g.Bindings.RetryPoison(ctx, name, position)
	if retried.Reason != "" && check(ctx, g.Bindings, access.SteerPlugins, name) != nil {
		retried.Reason = notShown
	}
	return retried, err
}

// DropPoison is Workbench.DropPoison.
func (g bindingGuard) DropPoison(ctx context.Context, name string, position uint64) error {
	if err := g.checkSteer(ctx, name); err != nil {
		return err
	}
	return g.Bindings.DropPoison(ctx, name, position)
}

// Shadow is Trials.Shadow. The version reads what it would if it were deployed.
func (g bindingGuard) Shadow(ctx context.Context, name string, r plugins.Shadow) (plugins.Status, error) {
	p := access.Of(ctx)
	if err := p.Check(access.DeployPlugins, name); err != nil {
		return plugins.Status{}, err
	}
	r.Admit = func(_, is *plugins.Binding) error { return covers(p, is) }
	s, err := g.Bindings.Shadow(ctx, name, r)
	if err == nil {
		show(p, &s)
	}
	return s, err
}

// EndShadow is Trials.EndShadow.
func (g bindingGuard) EndShadow(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.EndShadow)
}

// Differences is Trials.Differences.
func (g bindingGuard) Differences(ctx context.Context, name string, r plugins.ShadowRequest) (plugins.ShadowReport, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.ShadowReport{}, err
	}
	return g.Bindings.Differences(ctx, name, r)
}

func (g bindingGuard) steer(ctx context.Context, name string, do func(context.Context, string) (plugins.Status, error)) (plugins.Status, error) {
	if err := g.checkSteer(ctx, name); err != nil {
		return plugins.Status{}, err
	}
	s, err := do(ctx, name)
	if err == nil {
		show(access.Of(ctx), &s)
	}
	return s, err
}

// checkSteer checks that the principal of a context may steer a binding.
func (g bindingGuard) checkSteer(ctx context.Context, name string) error {
	p := access.Of(ctx)
	if err := p.Check(access.SteerPlugins, name); err != nil || p.Role != access.PluginAuthor {
		return err
	}
	return check(ctx, g.Bindings, access.SteerPlugins, name)
}

// maySteer is checkSteer of a binding that is known.
func maySteer(p *access.Principal, b *plugins.Binding) bool {
	return p.Check(access.SteerPlugins, b.Name) == nil && (p.Role != access.PluginAuthor || covers(p, b) == nil)
}

// notShown stands for a reason that may have what is in events.
const notShown = "not shown: the key is not granted what the binding reads"

// show leaves in a status what a principal may see: the config if it may steer the binding, and
// the reasons of failures if it is granted what the binding is.
func show(p *access.Principal, s *plugins.Status) {
	if p.Free() {
		return
	}
	if !maySteer(p, &s.Binding) {
		s.Config = nil
	}
	if covers(p, &s.Binding) == nil {
		return
	}
	hide := func(reason *string) {
		if *reason != "" {
			*reason = notShown
		}
	}
	hide(&s.Stopped)
	if s.Kind != plugins.KindValidate || s.State != plugins.Paused { // that is said by the node: nothing is judged
		hide(&s.Reason)
	}
	if s.Beside != nil {
		beside := *s.Beside
		hide(&beside.Reason)
		s.Beside = &beside
	}
	if s.Shadow != nil {
		shadow := *s.Shadow
		hide(&shadow.Ended)
		hide(&shadow.Why)
		s.Shadow = &shadow
	}
	s.LaneStatus = slices.Clone(s.LaneStatus)
	for i := range s.LaneStatus {
		hide(&s.LaneStatus[i].Reason)
	}
}

// logGuard is Logs for the principal of a call's context.
type logGuard struct {
	Logs
	bindings Bindings
}

// Read is Logs.Read.
func (g logGuard) Read(ctx context.Context, binding string, r plugins.LogsRequest) (plugins.LogsPage, error) {
	if err := check(ctx, g.bindings, access.SeePlugins, binding); err != nil {
		return plugins.LogsPage{}, err
	}
	return g.Logs.Read(ctx, binding, r)
}

// check checks that the principal of a context may do a, and is granted what a binding is.
func check(ctx context.Context, bindings Bindings, a access.Action, name string) error {
	p := access.Of(ctx)
	if err := p.Check(a, ""); err != nil || p.Free() {
		return err
	}
	b, err := bindings.Binding(ctx, name)
	if err != nil {
		return err
	}
	return covers(p, &b)
}

// reasons is wsapi.Extension.Reasons: those of a binding may have what it reads.
func (c Config) reasons(ctx context.Context, subscription string) error {
	err := check(ctx, c.Bindings, access.SeePlugins, subscription)
	if errors.Is(err, core.CodeBindingNotFound) {
		return nil
	}
	return err
}

// covers checks that a principal is granted all that a binding reads, and all that it is granted, or
// was when it made its state. The error is forbidden.
func covers(p *access.Principal, b *plugins.Binding) error {
	reads := b.Input.Filter.Streams // a stream may have links to any other
	if len(reads) == 0 {
		reads = []string{"*"}
	}
	if stream := b.Input.Stream; stream != "" && stream != core.All {
		reads = append([]string{stream}, reads...)
	}
	for _, pattern := range reads {
		if err := p.Covers(access.Read, pattern); err != nil {
			return err
		}
	}
	for _, text := range slices.Concat(b.Grants, b.FormerGrants) {
		c, err := plugins.ParseCapability(text)
		if err != nil {
			return err
		}
		switch c.Kind {
		case plugins.CanUseState:
		case plugins.CanAppend:
			err = p.Covers(access.Append, c.Scope)
		case plugins.CanReadStreams:
			err = p.Covers(access.Read, c.Scope)
		default:
			err = p.Covers(access.Grant, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
