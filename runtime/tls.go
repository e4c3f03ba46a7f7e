package runtime

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/certs"
)

// TLSConfig says whether and how a node serves TLS: it does if there is a Cert.
type TLSConfig struct {
	certs.Files
	// Plaintext allows a Listen address that other machines can reach without TLS.
	Plaintext bool
}

// openTLS reads the certificates. There are none if the node serves no TLS.
func (c *Config) openTLS(logger *slog.Logger) (*certs.Set, error) {
	t := &c.TLS
	switch {
	case t.Cert == "" && t.Key != "":
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-key is set, and tls-cert is not: set both, or none")
	case t.Cert != "" && t.Key == "":
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-cert is set, and tls-key is not: set both, or none")
	case t.Cert == "" && t.ClientCA != "":
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-client-ca is for a node that serves TLS: set tls-cert and tls-key as well")
	case t.Cert != "" && t.Plaintext:
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-cert and insecure-plaintext contradict each other: leave one of them out")
	case t.Cert == "":
		return nil, nil
	}
	return certs.Open(t.Files, logger)
}

// registerTLSMetrics adds the metrics of a node that serves TLS.
func registerTLSMetrics(r *prometheus.Registry, set *certs.Set) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gyre_tls_certificate_not_after_timestamp_seconds", Help: "When the certificate of the node ends.",
	}, func() float64 { return float64(set.NotAfter().Unix()) }))
}
