package sdk

import (
	"context"
	"net/url"

	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Stats returns the counters and gauges of a node of the ring; "" is the one that the client is
// connected to. The error is not_found if there is no such node.
func (c *Client) Stats(ctx context.Context, node string) (s wire.Stats, err error) {
	err = c.get(ctx, "/v1/stats", queryOf("node", node), &s)
	return s, err
}

// Types returns a page of the types of events, with how many there are of each. The error is
// forbidden unless the key is granted every stream.
func (c *Client) Types(ctx context.Context, r census.ListRequest) (page census.TypePage, err error) {
	if err := c.get(ctx, "/v1/types", countsQuery(r), &page); err != nil {
		return page, err
	}
	page.Next, err = nextOf(page.Next)
	return page, err
}

// Categories returns a page of the categories of streams, with how many streams and events there
// are in each. The error is that of Types.
func (c *Client) Categories(ctx context.Context, r census.ListRequest) (page census.CategoryPage, err error) {
	if err := c.get(ctx, "/v1/categories", countsQuery(r), &page); err != nil {
		return page, err
	}
	page.Next, err = nextOf(page.Next)
	return page, err
}

func countsQuery(r census.ListRequest) url.Values {
	return listQuery(r.After, r.Limit, "prefix", r.Prefix, "sort", string(r.Order))
}

// Settings returns the settings of a node that are in effect, and where each comes from. They have no
// secrets. The node, and the error, are those of Stats.
func (c *Client) Settings(ctx context.Context, node string) (s wire.Settings, err error) {
	err = c.get(ctx, "/v1/config", queryOf("node", node), &s)
	return s, err
}
