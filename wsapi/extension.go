package wsapi

import (
	"context"

	"github.com/gyre-events/gyre/wsapi/wire"
	"github.com/gyre-events/gyre/wsapi/ws"
)

// Extension adds to the API what this package does not know, such as plugins. Its entries
// are of the same kinds as the API's own, which they may not replace. Its handlers use
// Timeout, ReadJSON, WriteJSON, ReadStream and EventStream.
type Extension struct {
	// Feature is listed among the features in welcome and GET /v1/server.
	Feature string
	Routes  []Route
	Ops     []Op
	Subs    []Sub
	// Stats fills in what this package does not know of the node's Stats; nil: nothing. It
	// waits for storage only briefly.
	Stats func(*wire.Stats)
	// Reasons returns why the principal of ctx may not see for what reasons the extension parked
	// events of a subscription; nil: it parks none.
	Reasons func(ctx context.Context, subscription string) error
	// Dashboard is served to browsers, at every path that nothing else is at. At most one
	// extension has one; without, / is a page that says how to get it.
	Dashboard Dashboard
}

// What an Extension adds to WebSocket connections.
type (
	Op     = ws.Op
	Sub    = ws.Sub
	Stream = ws.Stream
)

// reasons is Extension.Reasons of all extensions.
func (c *Config) reasons(ctx context.Context, subscription string) error {
	for i := range c.Extensions {
		if reasons := c.Extensions[i].Reasons; reasons != nil {
			if err := reasons(ctx, subscription); err != nil {
				return err
			}
		}
	}
	return nil
}
