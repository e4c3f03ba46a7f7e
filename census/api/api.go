// Package api serves the counts of types and categories over HTTP and WebSockets, as an extension
// of a node's API.
package api

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// Census has the counts. Its methods are safe for concurrent use.
type Census interface {
	Types(ctx context.Context, r census.ListRequest) (census.TypePage, error)
	Categories(ctx context.Context, r census.ListRequest) (census.CategoryPage, error)
}

var _ Census = (*census.Census)(nil)

// New returns the extension of a node's API that serves counts.
func New(c Census) wsapi.Extension {
	query := []string{"prefix", "sort", "cursor", "limit"}
	return wsapi.Extension{Feature: "census", Routes: []wsapi.Route{
		{Method: "GET", Path: "/v1/types", Op: "types", Needs: access.ListStreams, Query: query, Handle: list(c.Types, func(p *census.TypePage) *string { return &p.Next })},
		{Method: "GET", Path: "/v1/categories", Op: "categories", Needs: access.ListStreams, Query: query, Handle: list(c.Categories, func(p *census.CategoryPage) *string { return &p.Next })},
	}}
}

// list serves pages of counts. next is where a page has what the next one begins after.
func list[P any](read func(context.Context, census.ListRequest) (P, error), next func(*P) *string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := allowed(r.Context()); err != nil {
			return err
		}
		q := r.URL.Query()
		asked, err := wsapi.ParseList(q, "sort")
		if err != nil {
			return err
		}
		ctx, cancel, err := wsapi.Timeout(w, r)
		if err != nil {
			return err
		}
		defer cancel()
		page, err := read(ctx, census.ListRequest{Prefix: asked.Prefix, Order: census.Order(q.Get("sort")), After: asked.After, Limit: asked.Limit})
		if err != nil {
			return err
		}
		if at := next(&page); *at != "" {
			*at = wsapi.ListCursor(*at)
		}
		w.Header().Set("Cache-Control", "private, no-store")
		return wsapi.WriteJSON(w, http.StatusOK, page)
	}
}

// allowed checks that the principal may read every stream: counts are of all of them together, and
// their names say which there are.
func allowed(ctx context.Context) error {
	if err := access.Of(ctx).Covers(access.ListStreams, "*"); err != nil {
		return core.Errorf(core.CodeForbidden, "the counts are of every stream: %s", core.AsError(err).Detail)
	}
	return nil
}
