package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// byKind serves bindings of all kinds. What a validator can do, too, goes to the kind that has the name;
// the rest goes to the bindings with a subscription. No name is in both.
type byKind struct {
	Bindings
	validators Validators
	versions   Registry
}

// of are the bindings of the kind that a name is of; those with a subscription if it is of none.
func (k byKind) of(ctx context.Context, name string) Validators {
	if _, err := k.validators.Binding(ctx, name); errors.Is(err, core.CodeBindingNotFound) {
		return k.Bindings
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
	page, err := k.Bindings.List(ctx, r)
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

// ofEvents returns a handler for a route about the events that a binding has handled. It refuses a
// validator; what names what a validator does not have.
func (a *api) ofEvents(what string, handle handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := a.handles(r.Context(), r.PathValue("binding"), what); err != nil {
			return err
		}
		return handle(w, r)
	}
}

// handles refuses a validator, since it handles no events. A binding that does not exist passes.
func (a *api) handles(ctx context.Context, binding, what string) error {
	_, err := a.Validators.Binding(ctx, binding)
	switch {
	case errors.Is(err, core.CodeBindingNotFound):
		return nil
	case err != nil:
		return err
	}
	return core.Errorf(core.CodeInvalidRequest, "binding %q is a validator, which has no %s", binding, what)
}
