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

// front is where a node takes requests.
type front struct {
	listener *net.TCPListener
	certs    *certs.Set // nil: no TLS
	server   *http.Server
	serving  sync.WaitGroup
}

// listen takes the address of a configuration that is valid.
func (f *front) listen(ctx context.Context, c *Config) (err error) {
	if f.certs, err = c.openTLS(); err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return core.Errorf(core.CodeInvalidConfig, "%w", err)
	}
	f.listener = listener.(*net.TCPListener)
	return nil
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

// serve starts the goroutine that accepts; close waits for it. failed gets why it ends by
// itself.
func (f *front) serve(c *Config, handle http.HandlerFunc, failed chan<- error) {
	f.server = &http.Server{
		Handler:           handle,
		ConnContext:       connContext,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	var listener net.Listener = newLimitListener(f.listener, c.openConnections(), c.MaxConnectionsPerAddress)
	if f.certs != nil {
		listener = tls.NewListener(listener, f.certs.Server())
	}
	f.serving.Go(func() {
		if err := f.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve %s: %w", f.listener.Addr(), err)
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

func (f *front) close(ctx context.Context) error {
	err := f.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, f.server.Close())
	}
	f.serving.Wait()
	return err
}
