package wsapi

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	defaultViews = 20
	maxViews     = 1000
)

// clusterRoutes are those about the ring. They answer below quorum, and while the node
// shuts down.
func (a *API) clusterRoutes() []Route {
	node := []string{"node"}
	return []Route{
		{Method: "GET", Path: "/v1/cluster/status", Needs: access.SeeCluster, Handle: a.aboutRing("status"), Query: node, Drained: true},
		{Method: "GET", Path: "/v1/cluster/members", Needs: access.SeeCluster, Handle: a.aboutRing("members"), Query: node, Drained: true},
		{Method: "GET", Path: "/v1/cluster/views", Needs: access.SeeCluster, Handle: a.aboutRing("views"), Query: []string{"before", "limit"}, Drained: true},
		{Method: "GET", Path: "/v1/cluster/whereis", Needs: access.SeeCluster, Handle: a.aboutRing("whereis"), Query: []string{"stream", "subscription"}, Drained: true},
		{Method: "GET", Path: "/v1/cluster/owned", Needs: access.SeeCluster, Handle: a.aboutRing("owned"), Query: []string{"node", "kind", "prefix", "name", "cursor", "limit"}, Drained: true},
		{Method: "POST", Path: "/v1/cluster/drain", Needs: access.SteerCluster, Audit: "NodeDrained", Handle: a.orderRing(func(ctx context.Context, node string) error { return a.config.Ring.Drain(ctx, node, true) }), Query: node},
		{Method: "POST", Path: "/v1/cluster/undrain", Needs: access.SteerCluster, Audit: "NodeUndrained", Handle: a.orderRing(func(ctx context.Context, node string) error { return a.config.Ring.Drain(ctx, node, false) }), Query: node},
		{Method: "POST", Path: "/v1/cluster/leave", Needs: access.SteerCluster, Audit: "NodeLeft", Handle: a.orderRing(func(ctx context.Context, node string) error { return a.config.Ring.Leave(ctx, node) }), Query: node},
	}
}

// aboutRing handles a question about the ring.
func (a *API) aboutRing(about string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		q := r.URL.Query()
		if err := only(q, "node", "before", "limit", "stream", "subscription", "kind", "prefix", "name", "cursor"); err != nil {
			return err
		}
		ctx, cancel, err := a.timeout(r)
		if err != nil {
			return err
		}
		defer cancel()
		answer, err := askRing(ctx, a.config.Ring, about, q)
		if err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		return WriteJSON(w, http.StatusOK, answer)
	}
}

// orderRing handles an order to a node of the ring.
func (a *API) orderRing(give func(ctx context.Context, node string) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.config.Ring == nil {
			return noRing()
		}
		if err := a.ignoreBody(w, r); err != nil {
			return err
		}
		ctx, cancel, err := a.timeout(r)
		if err != nil {
			return err
		}
		defer cancel()
		if err := give(ctx, r.URL.Query().Get("node")); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func noRing() error {
	return core.Errorf(core.CodeNotSupported, "this node is in no ring; gyre serve --cluster makes it a member of one")
}

// ringViews is the body of GET /v1/cluster/views.
type ringViews struct {
	Views []ring.View `json:"views"`
}

// askRing answers a question about the ring.
func askRing(ctx context.Context, r ring.Reporter, about string, q url.Values) (any, error) {
	if r == nil {
		return nil, noRing()
	}
	switch about {
	case "status":
		return r.Status(ctx, q.Get("node"))
	case "members":
		return r.Members(ctx, q.Get("node"))
	case "views":
		before, err := Number(q, "before", 1, 1<<53)
		if err != nil {
			return nil, err
		}
		limit, err := Number(q, "limit", 1, maxViews)
		if err != nil {
			return nil, err
		}
		if limit == 0 {
			limit = defaultViews
		}
		views, err := r.Views(ctx, before, int(limit))
		return ringViews{append([]ring.View{}, views...)}, err
	case "whereis":
		return whereIs(ctx, r, q)
	case "owned":
		return owned(ctx, r, q)
	}
	return nil, core.Errorf(core.CodeInvalidRequest, "about is status, members, views, whereis or owned, not %q", core.Clip(about))
}

func whereIs(ctx context.Context, r ring.Reporter, q url.Values) (any, error) {
	stream, subscription := q.Get("stream"), q.Get("subscription")
	switch {
	case (stream == "") == (subscription == ""):
		return nil, core.Errorf(core.CodeInvalidRequest, "say either stream or subscription")
	case stream != "":
		if err := core.ValidateStream(stream); err != nil {
			return nil, err
		}
		return whereIsFor(ctx, r, ring.KindStream, stream)
	}
	if err := subscriptions.ValidateName(subscription); err != nil {
		return nil, err
	}
	return whereIsFor(ctx, r, ring.KindSubscription, subscription)
}

// whereIsFor is ring.Reporter.WhereIs for the principal of a context. Whether a name is in use is
// for who may use it.
func whereIsFor(ctx context.Context, r ring.Reporter, kind ring.Kind, name string) (ring.Whereabouts, error) {
	w, err := r.WhereIs(ctx, kind, name)
	if w.Open != nil && !seesOwned(access.Of(ctx), w.Open) {
		w.Open = nil
	}
	return w, err
}

// seesOwned reports whether a principal may see what a node owns: a stream that it may read, a
// subscription that it may steer.
func seesOwned(p *access.Principal, o *ring.Owned) bool {
	if o.Kind == ring.KindStream {
		return p.Check(access.Read, o.Name) == nil
	}
	return p.Check(access.SteerSubscriptions, o.Name) == nil
}

func owned(ctx context.Context, r ring.Reporter, q url.Values) (any, error) {
	list, err := ParseList(q, "node", "kind", "name")
	if err != nil {
		return nil, err
	}
	kind := ring.Kind(q.Get("kind"))
	if kind != "" && kind != ring.KindStream && kind != ring.KindSubscription {
		return nil, core.Errorf(core.CodeInvalidRequest, "kind is stream or subscription, not %q", core.Clip(string(kind)))
	}
	_, last, _ := strings.Cut(list.After, " ") // after the kind
	for _, text := range []string{list.Prefix, q.Get("name")} {
		if err := core.ValidateListing(text, last); err != nil {
			return nil, err
		}
	}
	page, err := ownedFor(ctx, r, q.Get("node"), ring.OwnedRequest{Kind: kind, Prefix: list.Prefix, Name: q.Get("name"), After: list.After, Limit: list.Limit})
	if page.Next != "" {
		page.Next = ListCursor(page.Next)
	}
	return page, err
}

// ownedFor is ring.Reporter.Owned for the principal of a context: a page of the names that it may
// see. The counts are those of all.
func ownedFor(ctx context.Context, r ring.Reporter, node string, asked ring.OwnedRequest) (ring.OwnedPage, error) {
	p := access.Of(ctx)
	if p.Free() {
		return r.Owned(ctx, node, asked)
	}
	limit := cmp.Or(asked.Limit, ring.DefaultOwned)
	asked.Limit = ring.MaxOwned
	shown := []ring.Owned{}
	for {
		page, err := r.Owned(ctx, node, asked)
		if err != nil {
			return page, err
		}
		for i := range page.Owned {
			if !seesOwned(p, &page.Owned[i]) {
				continue
			}
			if len(shown) == limit { // the cursor names what is shown, and nothing else
				page.Owned, page.Next = shown, shown[limit-1].Key()
				return page, nil
			}
			shown = append(shown, page.Owned[i])
		}
		if page.Next == "" {
			page.Owned = shown
			return page, nil
		}
		asked.After = page.Next
	}
}

// clusterOp is the op cluster: the questions of GET /v1/cluster/… with the same parameters.
func clusterOp(r ring.Reporter) Op {
	return Op{Name: "cluster", Needs: access.SeeCluster, Do: func(ctx context.Context, message []byte) (any, error) {
		var m struct {
			About        string `json:"about"`
			Node         string `json:"node"`
			Before       uint64 `json:"before"`
			Limit        uint64 `json:"limit"`
			Stream       string `json:"stream"`
			Subscription string `json:"subscription"`
			Kind         string `json:"kind"`
			Prefix       string `json:"prefix"`
			Name         string `json:"name"`
			Cursor       string `json:"cursor"`
		}
		if err := wire.Unmarshal(message, &m); err != nil {
			return nil, core.Errorf(core.CodeInvalidRequest, "op cluster cannot be read: %w", err)
		}
		q := url.Values{}
		for name, value := range map[string]string{
			"node": m.Node, "stream": m.Stream, "subscription": m.Subscription,
			"kind": m.Kind, "prefix": m.Prefix, "name": m.Name, "cursor": m.Cursor,
		} {
			if value != "" {
				q.Set(name, value)
			}
		}
		for name, value := range map[string]uint64{"before": m.Before, "limit": m.Limit} {
			if value != 0 {
				q.Set(name, strconv.FormatUint(value, 10))
			}
		}
		return askRing(ctx, r, m.About, q)
	}}
}
