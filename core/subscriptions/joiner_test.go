package subscriptions_test

import (
	"testing"

	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions/jointest"
)

func (n *node) system() jointest.System {
	return jointest.System{Joiner: n.Owner, Log: n.store, Manager: n.Owner}
}

func TestOwnerIsAJoiner(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		jointest.Run(t, func(t testing.TB) jointest.System { return newNode(t, memory.New()).system() })
	})
	t.Run("disk", func(t *testing.T) {
		jointest.Run(t, func(t testing.TB) jointest.System {
			engine, err := disk.Open(t.Context(), disk.Config{Dir: t.TempDir(), SegmentBytes: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			return newNode(t, engine).system()
		})
	})
}
