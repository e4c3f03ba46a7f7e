package disk

import (
	"context"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/enginetest"
)

// testSegmentBytes makes segments small, so that every test has many.
const testSegmentBytes = 64 << 10

func open(t testing.TB, config Config) *Engine {
	t.Helper()
	if config.SegmentBytes == 0 {
		config.SegmentBytes = testSegmentBytes
	}
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	e, err := Open(context.Background(), config)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return e
}

func TestConformance(t *testing.T) {
	t.Parallel()
	enginetest.Run(t, func(t testing.TB) core.Engine { return open(t, Config{}) })
}

func TestSoak(t *testing.T) {
	enginetest.Soak(t, func(t testing.TB) core.Engine { return open(t, Config{}) })
}

func TestDurable(t *testing.T) {
	t.Parallel()
	enginetest.RunDurable(t, func(t testing.TB, dir string) core.Engine { return open(t, Config{Dir: dir}) })
}
