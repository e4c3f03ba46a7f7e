package runtime

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/outside"
	"github.com/gyre-events/gyre/runtime/secret"
)

// beyond is the effects.Outside of a node.
type beyond struct {
	*outside.Client
	secrets *secret.Values
}

// Secret is effects.Outside's.
func (o *beyond) Secret(name string) (string, bool) { return o.secrets.Get(name) }

// openSecrets opens the file with the secrets of plugins; nil if there is none. The error is
// invalid_config.
func (c *PluginConfig) openSecrets(logger *slog.Logger) (*secret.Values, error) {
	if c.SecretsFile == "" {
		return nil, nil
	}
	values, err := secret.OpenValues(c.SecretsFile, logger)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidConfig, "plugin-secrets-file: %w", err)
	}
	return values, nil
}

// secretMetrics are about the file with the secrets of plugins.
type secretMetrics struct {
	secrets      *secret.Values
	count, valid *prometheus.Desc
}

func newSecretMetrics(secrets *secret.Values) *secretMetrics {
	return &secretMetrics{
		secrets: secrets,
		count:   prometheus.NewDesc("gyre_plugin_secrets", "Secrets that the node has for plugins.", nil, nil),
		valid:   prometheus.NewDesc("gyre_plugin_secrets_valid", "1, or 0 if the file with the secrets is of no use and those from before stay.", nil, nil),
	}
}

// Describe is prometheus.Collector.
func (m *secretMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.count
	out <- m.valid
}

// Collect is prometheus.Collector. Without a file there are none.
func (m *secretMetrics) Collect(out chan<- prometheus.Metric) {
	if m.secrets == nil {
		return
	}
	valid := 0.0
	if m.secrets.Valid() {
		valid = 1
	}
	out <- prometheus.MustNewConstMetric(m.valid, prometheus.GaugeValue, valid)
	out <- prometheus.MustNewConstMetric(m.count, prometheus.GaugeValue, float64(len(m.secrets.Names())))
}
