package api

import (
	"context"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// bindingGuard is Bindings that do for the principal of a call's context what that may do.
// What it is granted must cover what a binding reads and is granted: to deploy one, or to see
// its state; and for a plugin-author also to steer it, or to read its logs.
type bindingGuard struct{ Bindings }

// Deploy is Bindings.Deploy.
func (g bindingGuard) Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error) {
	p := access.Of(ctx)
	if err := p.Check(access.DeployPlugins, ""); err != nil {
		return plugins.Status{}, err
	}
	d.Admit = func(b *plugins.Binding) error { return covers(p, b) }
	return g.Bindings.Deploy(ctx, name, d)
}

// Delete is Bindings.Delete.
func (g bindingGuard) Delete(ctx context.Context, name string) error {
	if err := g.checkAuthor(ctx, access.SteerPlugins, name); err != nil {
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

// Rollback is Controls.Rollback.
func (g bindingGuard) Rollback(ctx context.Context, name string) (plugins.Status, error) {
	return g.steer(ctx, name, g.Bindings.Rollback)
}

// Rebuild is Controls.Rebuild.
func (g bindingGuard) Rebuild(ctx context.Context, name string, r plugins.Rebuild) (plugins.Status, error) {
	return g.steer(ctx, name, func(ctx context.Context, name string) (plugins.Status, error) {
		return g.Bindings.Rebuild(ctx, name, r)
	})
}

// Get is State.Get.
func (g bindingGuard) Get(ctx context.Context, name string, lane int, key string) (plugins.Entry, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.Entry{}, err
	}
	return g.Bindings.Get(ctx, name, lane, key)
}

// Entries is State.Entries.
func (g bindingGuard) Entries(ctx context.Context, name string, r plugins.StateRequest) (plugins.StatePage, error) {
	if err := check(ctx, g.Bindings, access.SeePluginState, name); err != nil {
		return plugins.StatePage{}, err
	}
	return g.Bindings.Entries(ctx, name, r)
}

func (g bindingGuard) steer(ctx context.Context, name string, do func(context.Context, string) (plugins.Status, error)) (plugins.Status, error) {
	if err := g.checkAuthor(ctx, access.SteerPlugins, name); err != nil {
		return plugins.Status{}, err
	}
	return do(ctx, name)
}

func (g bindingGuard) checkAuthor(ctx context.Context, a access.Action, name string) error {
	if access.Of(ctx).Role == access.PluginAuthor {
		return check(ctx, g.Bindings, a, name)
	}
	return access.Check(ctx, a, "")
}

// logGuard is Logs for the principal of a call's context.
type logGuard struct {
	Logs
	bindings Bindings
}

// Read is Logs.Read.
func (g logGuard) Read(ctx context.Context, binding string, r plugins.LogsRequest) (plugins.LogsPage, error) {
	if err := (bindingGuard{g.bindings}).checkAuthor(ctx, access.SeePlugins, binding); err != nil {
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

// covers checks that a principal is granted all that a binding reads, and all that it was
// granted. The error is forbidden.
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
	for _, text := range b.Grants {
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
