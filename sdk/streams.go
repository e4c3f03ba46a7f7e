package sdk

import (
	"context"
	"net/url"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Streams lists streams. Within is not for clients: a key sees the streams that it may read.
func (c *Client) Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	if r.Names != nil && len(r.Names) == 0 {
		return core.StreamsPage{End: true}, nil
	}
	var body wire.StreamsPage
	if err := c.get(ctx, "/v1/streams", streamsQuery(&r), &body); err != nil {
		return core.StreamsPage{}, err
	}
	page := core.StreamsPage{End: body.End, Looked: body.Looked}
	for i := range body.Streams {
		info, err := body.Streams[i].Core()
		if err != nil {
			return core.StreamsPage{}, err
		}
		page.Streams = append(page.Streams, info)
	}
	var err error
	if page.Next, err = nextOf(body.Cursor); err != nil {
		return core.StreamsPage{}, err
	}
	if page.End != (page.Next == "") {
		return core.StreamsPage{}, core.Errorf(core.CodeProtocolError, "the cursor of a page is %.40q, and its end %v", body.Cursor, page.End)
	}
	if body.Total != nil {
		page.Total = &core.StreamsTotal{Streams: body.Total.Streams, AtLeast: body.Total.AtLeast}
	}
	return page, nil
}

func streamsQuery(r *core.StreamsRequest) url.Values {
	query := listQuery(r.After, r.Limit, "prefix", r.Prefix, "suffix", r.Suffix, "match", r.Pattern)
	if r.State != nil {
		query.Set("state", r.State.String())
	}
	switch r.Sort {
	case core.ByCreated:
		query.Set("sort", "created")
	case core.ByChanged:
		query.Set("sort", "changed")
	}
	for name, is := range map[string]bool{"desc": r.Descending, "details": r.Details, "totals": r.Totals, "system": r.System} {
		if is {
			query.Set(name, "true")
		}
	}
	if r.Names != nil {
		query["names"] = r.Names
		query.Del("limit")
	}
	return query
}

// Stream describes a stream. The error is that of a read if it cannot be read.
func (c *Client) Stream(ctx context.Context, name string) (core.StreamInfo, error) {
	var body wire.Stream
	if err := c.get(ctx, "/v1/streams/"+url.PathEscape(name), nil, &body); err != nil {
		return core.StreamInfo{}, err
	}
	return body.Core()
}
