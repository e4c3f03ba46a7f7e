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

// Followers that pass over events of others share buffers: what one was given stays as it is.
func TestWhatFollowersGetStays(t *testing.T) {
	e := open(t, Config{})
	const each = 300
	streams := []string{"a", "b"}
	for range each {
		for _, stream := range streams {
			commit(t, e, someEvents(stream, 1))
		}
	}
	store := core.NewStore(e, core.StoreConfig{}) // it has nothing in memory
	defer func() { _ = store.Close() }()
	var followers []core.Follower
	for _, stream := range streams {
		f, err := store.Follow(t.Context(), core.FollowRequest{Stream: core.All, Filter: core.Filter{Streams: []string{stream}}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		followers = append(followers, f)
	}
	got := make([][]core.Batch, len(streams))
	for range each / 10 {
		for i, f := range followers {
			d, err := f.Next(t.Context(), core.Limit{Events: 10, Bytes: core.MaxPageBytes})
			if err != nil {
				t.Fatal(err)
			}
			got[i] = append(got[i], d.Batch)
		}
	}
	for i, stream := range streams {
		version := uint64(0)
		for _, b := range got[i] {
			for event := range b.Events() {
				if version++; event.Stream != stream || event.Version != version {
					t.Fatalf("event %d of stream %q is event %d of %q", version, stream, event.Version, event.Stream)
				}
			}
		}
		if version != each {
			t.Errorf("%d events of stream %q, want %d", version, stream, each)
		}
	}
}
