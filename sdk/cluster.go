package sdk

import (
	"context"
	"net/url"
	"strconv"

	"github.com/gyre-events/gyre/core/ring"
)

// Cluster asks about the ring that the node is in, below quorum too. A method with the id
// of a node asks that node; "" is the one that the client is connected to. The error is
// not_supported if the node is in no ring.
type Cluster struct{ client *Client }

var _ ring.Reporter = Cluster{}

// Cluster asks about the node's ring.
func (c *Client) Cluster() Cluster { return Cluster{c} }

// Status returns how a node sees the ring, and whether it serves.
func (c Cluster) Status(ctx context.Context, node string) (status ring.Status, err error) {
	err = c.client.get(ctx, "/v1/cluster/status", queryOf("node", node), &status)
	return status, err
}

// Members returns all sessions of the ring as a node sees them.
func (c Cluster) Members(ctx context.Context, node string) (list ring.MemberList, err error) {
	err = c.client.get(ctx, "/v1/cluster/members", queryOf("node", node), &list)
	return list, err
}

// Views returns the views with the limit epochs before one, the newest first; those up to
// now if before is 0. limit is 1 to 1000.
func (c Cluster) Views(ctx context.Context, before uint64, limit int) ([]ring.View, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if before > 0 {
		query.Set("before", strconv.FormatUint(before, 10))
	}
	var body struct {
		Views []ring.View `json:"views"`
	}
	err := c.client.get(ctx, "/v1/cluster/views", query, &body)
	return body.Views, err
}

// WhereIs returns who owns a stream or a subscription.
func (c Cluster) WhereIs(ctx context.Context, kind ring.Kind, name string) (w ring.Whereabouts, err error) {
	err = c.client.get(ctx, "/v1/cluster/whereis", queryOf(string(kind), name), &w)
	return w, err
}

// Owned returns a page of what a node owns and has used lately.
func (c Cluster) Owned(ctx context.Context, node string, r ring.OwnedRequest) (page ring.OwnedPage, err error) {
	query := listQuery(r.After, r.Limit, "node", node, "kind", string(r.Kind), "prefix", r.Prefix, "name", r.Name)
	if err := c.client.get(ctx, "/v1/cluster/owned", query, &page); err != nil {
		return page, err
	}
	page.Next, err = nextOf(page.Next)
	return page, err
}

// Drain has a node hand over all that it owns and stay out of views, or ends that. It
// returns when a view says so.
func (c Cluster) Drain(ctx context.Context, node string, on bool) error {
	if on {
		return c.order(ctx, "drain", node)
	}
	return c.order(ctx, "undrain", node)
}

// Leave drains a node and then ends its process. It returns when the node is drained.
func (c Cluster) Leave(ctx context.Context, node string) error { return c.order(ctx, "leave", node) }

func (c Cluster) order(ctx context.Context, what, node string) error {
	return c.client.postHere(ctx, "/v1/cluster/"+what, queryOf("node", node))
}
