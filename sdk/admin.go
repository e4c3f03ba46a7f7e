package sdk

import (
	"context"

	"github.com/gyre-events/gyre/wsapi/wire"
)

// Stats returns the counters and gauges of a node of the ring; "" is the one that the client is
// connected to. The error is not_found if there is no such node.
func (c *Client) Stats(ctx context.Context, node string) (s wire.Stats, err error) {
	err = c.get(ctx, "/v1/stats", queryOf("node", node), &s)
	return s, err
}
