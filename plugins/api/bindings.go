package api

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi"
)

type handler = func(http.ResponseWriter, *http.Request) error

// deploy is POST /v1/plugins/{binding}/deploy.
func (a *api) deploy(w http.ResponseWriter, r *http.Request) error {
	var d plugins.Deploy
	if err := wsapi.ReadJSON(w, r, &d); err != nil {
		return err
	}
	return a.answer(w, r, func(ctx context.Context, name string) (plugins.Status, error) { return a.Bindings.Deploy(ctx, name, d) })
}

// status is GET /v1/plugins/{binding}.
func (a *api) status(w http.ResponseWriter, r *http.Request) error {
	return a.answer(w, r, a.Bindings.Status)
}

// control returns the handler of a control that takes nothing but a name.
func (a *api) control(do func(context.Context, string) (plugins.Status, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := wsapi.ReadNothing(w, r); err != nil {
			return err
		}
		return a.answer(w, r, do)
	}
}

// rebuild is POST /v1/plugins/{binding}/rebuild.
func (a *api) rebuild(w http.ResponseWriter, r *http.Request) error {
	var body plugins.Rebuild
	if err := wsapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	return a.answer(w, r, func(ctx context.Context, name string) (plugins.Status, error) {
		return a.Bindings.Rebuild(ctx, name, body)
	})
}

// rollback is POST /v1/plugins/{binding}/rollback.
func (a *api) rollback(w http.ResponseWriter, r *http.Request) error {
	var body plugins.Rollback
	if err := wsapi.ReadJSON(w, r, &body); err != nil {
		return err
	}
	return a.answer(w, r, func(ctx context.Context, name string) (plugins.Status, error) {
		return a.Bindings.Rollback(ctx, name, body)
	})
}

// answer does something to a binding, and answers how it is then.
func (a *api) answer(w http.ResponseWriter, r *http.Request, do func(context.Context, string) (plugins.Status, error)) error {
	return give(w, r, func(ctx context.Context) (plugins.Status, error) { return do(ctx, r.PathValue("binding")) })
}

// delete is DELETE /v1/plugins/{binding}.
func (a *api) delete(w http.ResponseWriter, r *http.Request) error {
	return done(w, r, func(ctx context.Context) error { return a.Bindings.Delete(ctx, r.PathValue("binding")) })
}

// give answers what do returns.
func give[T any](w http.ResponseWriter, r *http.Request, do func(context.Context) (T, error)) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	body, err := do(ctx)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, http.StatusOK, body)
}

// done does what has no answer but that it is done.
func done(w http.ResponseWriter, r *http.Request, do func(context.Context) error) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	if err := do(ctx); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
