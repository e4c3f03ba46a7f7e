package runtime

import (
	"context"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// openEngine opens what the Store stands on.
func openEngine(ctx context.Context, c Config) (core.Engine, error) {
	if c.Engine == EngineMemory {
		return memory.New(), nil
	}
	return nil, core.Errorf(core.CodeInvalidConfig, "engine %s is not there yet", c.Engine)
}
