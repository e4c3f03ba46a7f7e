package sdk

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/scavenge"
)

// Scavenge returns what is known of the latest scavenge of the store, at any node.
func (c *Client) Scavenge(ctx context.Context) (s scavenge.Status, err error) {
	err = c.get(ctx, "/v1/scavenge", nil, &s)
	return s, err
}

// StartScavenge starts a scavenge in the background of a node, or has the last one go on that was
// ended before its end. It does not wait for it. The error is scavenge_running if one runs.
func (c *Client) StartScavenge(ctx context.Context, r scavenge.Request) (s scavenge.Status, err error) {
	_, err = c.do(ctx, http.MethodPost, "/v1/scavenge", nil, r, &s)
	return s, err
}

// StopScavenge asks the scavenge that runs to end, and returns it; if none runs, the latest.
func (c *Client) StopScavenge(ctx context.Context) (s scavenge.Status, err error) {
	_, err = c.do(ctx, http.MethodDelete, "/v1/scavenge", nil, nil, &s)
	return s, err
}
