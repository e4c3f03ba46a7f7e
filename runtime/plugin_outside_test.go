package runtime

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/secret"
)

// TestSecretMetrics: an operator sees that a new file of secrets is of no use.
func TestSecretMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "secrets.yaml")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(secret.CheckEvery)
		}
		write(`A: hidden-value`)
		config := PluginConfig{SecretsFile: file}
		secrets, err := config.openSecrets(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(newSecretMetrics(secrets))
		is := func(count, valid float64) {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]float64{}
			for _, f := range families {
				got[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
			}
			if want := map[string]float64{"gyre_plugin_secrets": count, "gyre_plugin_secrets_valid": valid}; !maps.Equal(got, want) {
				t.Errorf("metrics %v, want %v", got, want)
			}
		}
		is(1, 1)
		write("A: hidden-value\nB: 7")
		is(1, 0)
		write("A: hidden-value\nB: hidden-value")
		is(2, 1)
		write("A: 7")
		if _, err := config.openSecrets(slog.New(slog.DiscardHandler)); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("a file of no use is opened: %v", err)
		}
	})
}
