// Package api serves the scavenges of a store over HTTP and WebSockets, as an extension of a node's
// API.
package api

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/wsapi"
)

// Job runs scavenges. Its methods are safe for concurrent use.
type Job interface {
	Start(ctx context.Context, r scavenge.Request) (scavenge.Status, error)
	Stop(ctx context.Context) (s scavenge.Status, ok bool, err error)
	Status(ctx context.Context) (scavenge.Status, error)
}

var _ Job = (*scavenge.Job)(nil)

type api struct{ job Job }

// New returns the extension of a node's API that serves scavenges.
func New(j Job) wsapi.Extension {
	a := &api{j}
	return wsapi.Extension{Feature: "scavenge", Routes: []wsapi.Route{
		{Method: "GET", Path: "/v1/scavenge", Op: "scavenge", Needs: access.Scavenge, Handle: a.status},
		{Method: "POST", Path: "/v1/scavenge", Op: "scavenge.start", Needs: access.Scavenge, Audit: "ScavengeStarted", Handle: a.start},
		{Method: "DELETE", Path: "/v1/scavenge", Op: "scavenge.stop", Needs: access.Scavenge, Audit: "ScavengeStopped", AuditOnly: http.StatusAccepted, Handle: a.stop},
	}}
}

// status is GET /v1/scavenge.
func (a *api) status(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, func(ctx context.Context) (int, scavenge.Status, error) {
		s, err := a.job.Status(ctx)
		return http.StatusOK, s, err
	})
}

// start is POST /v1/scavenge.
func (a *api) start(w http.ResponseWriter, r *http.Request) error {
	var asked scavenge.Request
	if err := wsapi.ReadJSON(w, r, &asked); err != nil {
		return err
	}
	wsapi.AuditDetail(w, asked)
	return answer(w, r, func(ctx context.Context) (int, scavenge.Status, error) {
		s, err := a.job.Start(ctx, asked)
		return http.StatusAccepted, s, err
	})
}

// stop is DELETE /v1/scavenge. Where none runs, there is nothing to do.
func (a *api) stop(w http.ResponseWriter, r *http.Request) error {
	return answer(w, r, func(ctx context.Context) (int, scavenge.Status, error) {
		s, ok, err := a.job.Stop(ctx)
		if !ok {
			return http.StatusOK, s, err
		}
		return http.StatusAccepted, s, err
	})
}

// answer answers with the scavenge as it is then.
func answer(w http.ResponseWriter, r *http.Request, do func(context.Context) (int, scavenge.Status, error)) error {
	ctx, cancel, err := wsapi.Timeout(w, r)
	if err != nil {
		return err
	}
	defer cancel()
	status, s, err := do(ctx)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return wsapi.WriteJSON(w, status, s)
}
