package memory_test

import (
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
	"github.com/gyre-events/gyre/core/memory"
)

func open(testing.TB) core.Engine { return memory.New() }

func TestEngine(t *testing.T) { enginetest.Run(t, open) }

func TestEngineSoak(t *testing.T) { enginetest.Soak(t, open) }
