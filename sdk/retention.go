package sdk

import (
	"context"
	"net/http"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// SetRetention replaces the policy of a stream or of a category, and returns what is stored then.
// From the answer on, no read has what expires by it. Its rules and errors are those of
// core.SetRetention.
func (c *Client) SetRetention(ctx context.Context, p core.RetentionPut) (core.RetentionInfo, error) {
	if err := p.Target.Validate(); err != nil {
		return core.RetentionInfo{}, err
	}
	if err := p.Retention.Validate(); err != nil {
		return core.RetentionInfo{}, err
	}
	query := url.Values{}
	if p.Expect != core.AnyVersion {
		query.Set("expect", p.Expect.String())
	}
	var policy wire.RetentionPolicy
	var err error
	if p.IsZero() {
		_, err = c.do(ctx, http.MethodDelete, retentionPath(p.Target), query, nil, &policy)
	} else {
		_, err = c.do(ctx, http.MethodPut, retentionPath(p.Target), query, wire.NewRetention(p.Retention), &policy)
	}
	if err != nil {
		return core.RetentionInfo{}, err
	}
	return policy.Core()
}

// Retention returns the policy of a stream or of a category; a zero one if there is none. What
// holds for a stream is in StreamInfo.
func (c *Client) Retention(ctx context.Context, t core.RetentionTarget) (core.RetentionInfo, error) {
	if err := t.Validate(); err != nil {
		return core.RetentionInfo{}, err
	}
	var policy wire.RetentionPolicy
	if err := c.get(ctx, retentionPath(t), nil, &policy); err != nil {
		return core.RetentionInfo{}, err
	}
	return policy.Core()
}

// ListRetentions returns a page of the policies.
func (c *Client) ListRetentions(ctx context.Context, r core.RetentionsRequest) (core.RetentionsPage, error) {
	var body wire.RetentionPage
	if err := c.get(ctx, "/v1/retention", listQuery(r.After, r.Limit), &body); err != nil {
		return core.RetentionsPage{}, err
	}
	next, err := nextOf(body.Cursor)
	page := core.RetentionsPage{Next: next, End: body.End}
	for i := range body.Policies {
		p, err := body.Policies[i].Core()
		if err != nil {
			return page, err
		}
		page.Policies = append(page.Policies, p)
	}
	return page, err
}

func retentionPath(t core.RetentionTarget) string {
	if t.Stream != "" {
		return "/v1/streams/" + url.PathEscape(t.Stream) + "/retention"
	}
	return "/v1/retention/" + url.PathEscape(t.Category)
}
