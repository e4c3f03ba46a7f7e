package runtime

import (
	"context"
	"net"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// AdminConfig says who gets the metrics of a node and the profiles of its process, and what its
// settings are shown as.
type AdminConfig struct {
	// Listen is the host:port of a listener of its own for /metrics and /debug/pprof. Without
	// one, /metrics is at Config.Listen, and there are no profiles.
	Listen string
	// KeyFile has the key of an admin (keys.NewToken). A store without keys takes it as its
	// first one; a store with keys must know it.
	KeyFile string
	// MetricsOpen gives /metrics to everybody, without a key.
	MetricsOpen bool
	// Settings are what the command was told, without secrets, for GET /v1/config.
	Settings []wire.Setting
}

// validateAddresses checks what the node listens on. Beyond this machine it must be protected
// by TLS, unless the configuration says otherwise, and by keys (checkKeys).
func (c *Config) validateAddresses(ctx context.Context) error {
	exposed, err := c.exposed(ctx)
	if err != nil || exposed == "" || c.TLS.Cert != "" || c.TLS.Plaintext {
		return err
	}
	return core.Errorf(core.CodeInsecureListen, "%s can be reached from other machines, and the node serves no TLS", exposed)
}

// checkKeys checks that a node that is to be protected has keys.
func (c *Config) checkKeys(ctx context.Context, protected bool) error {
	if protected {
		return nil
	}
	exposed, err := c.exposed(ctx)
	if err != nil || exposed == "" {
		return err
	}
	return core.Errorf(core.CodeInsecureListen, "%s can be reached from other machines, and the store has no key", exposed)
}

// exposed returns an address of the node that other machines can reach; "" if there is none,
// or none has to be protected.
func (c *Config) exposed(ctx context.Context) (string, error) {
	for _, address := range []struct{ name, text string }{{"listen", c.Listen}, {"admin-listen", c.Admin.Listen}} {
		if address.text == "" {
			continue
		}
		host, port, err := net.SplitHostPort(address.text)
		if err != nil {
			return "", core.Errorf(core.CodeInvalidConfig, "%s %q is not of the form host:port", address.name, address.text)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return "", core.Errorf(core.CodeInvalidConfig, "%s %q: %q is not a port", address.name, address.text, port)
		}
		if c.Insecure {
			continue
		}
		loopback, err := isLoopback(ctx, host)
		if err != nil {
			return "", core.Errorf(core.CodeInvalidConfig, "%s %q: %w", address.name, address.text, err)
		}
		if !loopback {
			return address.text, nil
		}
	}
	return "", nil
}
