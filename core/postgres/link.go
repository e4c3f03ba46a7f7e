package postgres

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// ReadLog is core.HeadWatcher's.
func (e *Engine) ReadLog(ctx context.Context, from uint64, limit core.Limit) (core.Page, error) {
	return e.Read(ctx, core.ReadRequest{Stream: core.All, From: from, Limit: limit})
}
