package runtime

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxListed bounds a node's part of a list, in bytes.
const maxListed = 64 << 20

// list is cluster.Subscriptions.Ask.
func (o *owners) list(ctx context.Context, of ring.Member, r subscriptions.ListRequest) (page subscriptions.ListPage, err error) {
	query := url.Values{
		"prefix": {r.Prefix}, "limit": {strconv.Itoa(r.Limit)},
		"cursor": {base64.RawURLEncoding.EncodeToString([]byte(r.After))},
	}
	if r.Transient {
		query.Set("transient", "true")
	}
	if r.Limit == 0 {
		query.Del("limit")
	}
	at := url.URL{Scheme: "http", Host: of.Addr, Path: "/v1/subscriptions", RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), http.NoBody)
	if err != nil {
		return page, err
	}
	if err := o.authorize(access.Of(ctx), of, request.Method, at.EscapedPath(), request.Header); err != nil {
		return page, err
	}
	answer, err := o.transport.RoundTrip(request)
	if err != nil {
		return page, core.Errorf(core.CodeNotServing, "node %s did not answer: %w", of.Node, err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxListed))
	switch {
	case err != nil:
		return page, core.Errorf(core.CodeNotServing, "node %s did not answer: %w", of.Node, err)
	case answer.StatusCode != http.StatusOK:
		var refused wire.Error
		if err := wire.Unmarshal(body, &refused); err != nil {
			return page, core.Errorf(core.CodeNotServing, "node %s answers %s", of.Node, answer.Status)
		}
		return page, refused.Err()
	}
	return page, wire.Unmarshal(body, &page)
}
