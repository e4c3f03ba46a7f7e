package runtime

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/plugins"
)

// Scrapes that follow each other share one look at the bindings.
func TestPluginMetricsLookSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		m := newPluginMetrics(newLooks(func(context.Context) ([]plugins.Status, error) {
			if looks++; looks == 2 {
				return nil, errors.New("storage is away")
			}
			return []plugins.Status{{Binding: plugins.Binding{Name: "counter"}, State: plugins.Running}}, nil
		}))
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(m)
		scrape := func() (series int) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				series += len(f.GetMetric())
			}
			return series
		}
		all := len(m.metrics)
		for i, want := range []struct{ looks, series int }{{1, all}, {1, all}, {2, 0}, {2, 0}, {3, all}} {
			if got := scrape(); got != want.series || looks != want.looks {
				t.Errorf("scrape %d has %d series after %d looks, want %d after %d", i, got, looks, want.series, want.looks)
			}
			time.Sleep(sumsFor/2 + 1)
		}
	})
}
