package runtime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/certs"
)

const (
	// A client that opens a connection and says nothing must not hold it. It bounds a TLS
	// handshake as well.
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	// Gyre's own requests have a few hundred bytes of headers; proxies add some.
	maxHeaderBytes = 64 << 10
)

// maxAdmins bounds the connections of the listener for metrics and profiles.
const maxAdmins = 64

// front is where a node takes requests.
type front struct {
	certs    *certs.Set // nil: no TLS
	listener *net.TCPListener
	admin    *net.TCPListener // nil: none
	servers  []*http.Server
	serving  sync.WaitGroup
}

// listen takes the addresses of a configuration that is valid.
func (f *front) listen(ctx context.Context, c *Config) (err error) {
	if f.certs, err = c.openTLS(c.Logger); err != nil {
		return err
	}
	if f.listener, err = listen(ctx, c.Listen); err != nil || c.Admin.Listen == "" {
		return err
	}
	if f.admin, err = listen(ctx, c.Admin.Listen); err != nil {
		return errors.Join(err, f.listener.Close())
	}
	return nil
}

func listen(ctx context.Context, address string) (*net.TCPListener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidConfig, "%w", err)
	}
	return listener.(*net.TCPListener), nil
}

// abandon gives the addresses back before serve is called.
func (f *front) abandon() error {
	err := f.listener.Close()
	if f.admin != nil {
		err = errors.Join(err, f.admin.Close())
	}
	return err
}

// names are those of the node's certificate.
func (f *front) names() []string {
	if f.certs == nil {
		return nil
	}
	return f.certs.Names()
}

// checkAdvertised checks that the certificate is for the address that other nodes dial.
func (f *front) checkAdvertised(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil || f.certs == nil {
		return err
	}
	return f.certs.CheckOwn(host)
}

// serve starts the goroutines that accept; close waits for them. failed gets why one ends by
// itself.
func (f *front) serve(c *Config, handle, administer http.HandlerFunc, failed chan error) {
	f.accept(c, newLimitListener(f.listener, c.openConnections(), c.Load.MaxConnectionsPerAddress), handle, failed)
	if f.admin != nil {
		f.accept(c, newLimitListener(f.admin, maxAdmins, c.Load.MaxConnectionsPerAddress), administer, failed)
	}
}

func (f *front) accept(c *Config, limited *limitListener, handle http.HandlerFunc, failed chan error) {
	server := &http.Server{
		Handler:           handle,
		ConnContext:       connContext,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	f.servers = append(f.servers, server)
	var listener net.Listener = limited
	if f.certs != nil {
		listener = tls.NewListener(limited, f.certs.Server())
	}
	f.serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			select {
			case failed <- fmt.Errorf("serve %s: %w", limited.Addr(), err):
			default: // the node has failed already
			}
		}
	})
}

// url is where clients of this machine reach the node.
func (f *front) url() string {
	scheme := "http://"
	if f.certs != nil {
		scheme = "https://"
	}
	if addr := f.listener.Addr().(*net.TCPAddr); addr.IP.IsUnspecified() {
		return fmt.Sprintf("%s127.0.0.1:%d", scheme, addr.Port)
	}
	return scheme + f.listener.Addr().String()
}

func (f *front) close(ctx context.Context) (err error) {
	for _, server := range f.servers {
		if late := server.Shutdown(ctx); late != nil {
			err = errors.Join(err, late, server.Close())
		}
	}
	f.serving.Wait()
	return err
}
