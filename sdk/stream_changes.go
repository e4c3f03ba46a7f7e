package sdk

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// DeleteStream hides a stream: it can be neither read by its name nor appended to, until
// UndeleteStream. $all and links have its events as before. The errors of this and of the other
// changes of a stream are those of Append; a change whose connection breaks before its answer is
// unknown_outcome, and not sent again.
func (c *Client) DeleteStream(ctx context.Context, stream string, expect core.Expect) error {
	return c.changeStream(ctx, stream, expect, core.DeleteStream)
}

// UndeleteStream ends what DeleteStream began.
func (c *Client) UndeleteStream(ctx context.Context, stream string, expect core.Expect) error {
	return c.changeStream(ctx, stream, expect, core.UndeleteStream)
}

// RemoveStream removes the stream's events from the log, and every link to them. The next append
// begins the stream anew, at version 1. The error is hard_deletes_off unless the node allows it.
func (c *Client) RemoveStream(ctx context.Context, stream string, expect core.Expect) error {
	return c.changeStream(ctx, stream, expect, core.RemoveStream)
}

// TombstoneStream is RemoveStream, and nothing is ever appended to the stream again. It need not
// exist.
func (c *Client) TombstoneStream(ctx context.Context, stream string, expect core.Expect) error {
	return c.changeStream(ctx, stream, expect, core.TombstoneStream)
}

func (c *Client) changeStream(ctx context.Context, stream string, expect core.Expect, action core.StreamAction) error {
	_, err := c.Append(ctx, core.Commit{Streams: []core.StreamOp{{Stream: stream, Expect: expect, Action: action}}})
	return err
}
