package main

import (
	"context"
	"fmt"

	"github.com/gyre-events/gyre/core"
)

// copyBlobs copies all blobs of the source, before the events: what names a blob comes after
// it. A node does not give or take them over HTTP.
func (c *copier) copyBlobs(ctx context.Context) error {
	if c.from.blobs == nil || c.to.blobs == nil {
		return nil
	}
	ids, err := c.listBlobs(ctx)
	if err != nil {
		return c.from.explain(err)
	}
	meter := c.app.newMeter("blobs", int64(len(ids)))
	defer meter.finish()
	for _, id := range ids {
		if err := c.copyBlob(ctx, id); err != nil {
			return err
		}
		c.done.Blobs++
		meter.set(c.done.Blobs, c.done.Blobs)
	}
	meter.finish()
	if c.done.Blobs > 0 {
		fmt.Fprintf(c.app.stderr, "%s blobs are in %s.\n", comma(c.done.Blobs), c.to.name)
	}
	return nil
}

func (c *copier) listBlobs(ctx context.Context) (ids [][32]byte, err error) {
	for after := ([32]byte{}); ; {
		page, err := c.from.blobs.ListBlobs(ctx, after, core.MaxReadEvents)
		if err != nil || len(page) == 0 {
			return ids, err
		}
		ids, after = append(ids, page...), page[len(page)-1]
	}
}

// copyBlob copies one blob. The source compares it with its id while it is read.
func (c *copier) copyBlob(ctx context.Context, id [32]byte) error {
	content, err := c.from.blobs.Blob(ctx, id)
	if err != nil {
		return c.from.explain(err)
	}
	defer func() { _ = content.Close() }()
	if _, _, err := c.to.blobs.PutBlob(ctx, content, core.MaxBlobBytes); err != nil {
		return c.to.explain(err)
	}
	return nil
}
