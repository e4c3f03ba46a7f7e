package runtime

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
)

// openEngine opens what the Store stands on. The disk engine may have to read
// much of its log first, after a crash, and tells progress how far it is.
func openEngine(ctx context.Context, c Config, progress func(done, total int64)) (core.Engine, error) {
	if c.Engine == EngineMemory {
		return memory.New(), nil
	}
	engine, err := disk.Open(ctx, disk.Config{Dir: c.Data, SegmentBytes: c.SegmentBytes, Logger: c.Logger, Progress: progress})
	if err != nil {
		return nil, err
	}
	return engine, nil
}
