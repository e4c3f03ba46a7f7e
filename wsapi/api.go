package wsapi

import (
	"context"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// lastWords is how long Close waits, after its time is up, for close frames to go
// out.
const lastWords = 250 * time.Millisecond

// API serves a Store over WebSocket and HTTP.
type API struct {
	config     Config
	metrics    *metrics
	router     *router
	guard      guard
	compressor *wire.Compressor
	upgrader   websocket.Upgrader

	draining atomic.Bool
	ctx      context.Context // ends with Close: event streams watch it
	cancel   context.CancelFunc
	running  sync.WaitGroup // the connections

	mu    sync.Mutex // protects the fields below
	conns map[*conn]struct{}
	taken int // places: of conns, and of handshakes under way
}

// New makes an API. It serves at once; Close ends it.
func New(config Config) (*API, error) {
	config, err := config.prepare()
	if err != nil {
		return nil, err
	}
	a := &API{config: config, guard: newGuard(&config), conns: map[*conn]struct{}{}}
	a.compressor = wire.NewCompressor(runtime.GOMAXPROCS(0)) // more at once gain nothing
	a.metrics, err = newMetrics(&a.config)
	if err != nil {
		return nil, err
	}
	a.upgrader = websocket.Upgrader{
		Subprotocols:    []string{wire.Bin, wire.JSON},
		WriteBufferPool: writeBuffers,
		WriteBufferSize: writeBufferBytes,
		CheckOrigin:     func(*http.Request) bool { return true }, // guard has
		Error: func(w http.ResponseWriter, r *http.Request, status int, reason error) {
			w.Header().Del("Sec-WebSocket-Version")
			a.problem(w, r, core.Errorf(core.CodeProtocolError, "not a WebSocket handshake: %s", reason.Error()))
		},
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.router = newRouter(a)
	return a, nil
}

// Close says goaway to every connection, lets what is under way finish for as long
// as ctx lasts, closes the connections with 4000, and returns when all goroutines
// of the API are gone. Requests that come later are answered shutting_down. HTTP
// requests that are being served are http.Server.Shutdown's to wait for; event
// streams end now.
func (a *API) Close(ctx context.Context) error {
	a.draining.Store(true)
	a.cancel()
	conns := a.connections()
	for _, c := range conns {
		// Not all at once: the next node, or this one again, has to take them.
		c.drain(200 + rand.Int64N(1000))
	}
	for _, c := range conns {
		c.calls.wait(ctx)
		c.close(&closing{code: closeShutdown})
	}
	gone := make(chan struct{})
	go func() {
		a.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-gone:
		return nil
	case <-time.After(lastWords):
	}
	for _, c := range conns {
		c.cancel()
		c.socket.hangUp()
	}
	<-gone
	return ctx.Err()
}

func (a *API) connections() []*conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]*conn, 0, len(a.conns))
	for c := range a.conns {
		list = append(list, c)
	}
	return list
}

// webSocket takes a connection in.
func (a *API) webSocket(w http.ResponseWriter, r *http.Request) error {
	offered := websocket.Subprotocols(r)
	bin, known := false, len(offered) == 0
	for _, p := range offered {
		bin = bin || p == wire.Bin
		known = known || p == wire.Bin || p == wire.JSON
	}
	if !known {
		return core.Errorf(core.CodeVersionUnsupported, "none of the offered subprotocols is known")
	}
	if !a.takePlace(1) {
		e := core.Errorf(core.CodeTooManyConnections, "%d connections are open", a.config.Limits.Connections)
		e.Limit = int64(a.config.Limits.Connections)
		return e
	}
	ws, err := a.upgrader.Upgrade(w, r, nil)
	if err != nil {
		a.takePlace(-1)
		return nil // the upgrader has answered
	}
	c := newConn(a, bin)
	c.socket = newGorilla(ws, c.hear)
	if !a.opened(c) {
		a.takePlace(-1)
		c.socket.hangUp()
	}
	return nil
}

// takePlace takes a place for a connection, or gives one back.
func (a *API) takePlace(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n > 0 && a.taken >= a.config.Limits.Connections {
		return false
	}
	a.taken += n
	return true
}

// opened registers and starts a connection, unless the API is closing.
func (a *API) opened(c *conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining.Load() {
		return false
	}
	a.conns[c] = struct{}{}
	a.metrics.connections.Inc()
	// Not in the goroutine of the request, which holds a lot of memory.
	a.running.Go(c.run)
	return true
}

// closed forgets a connection.
func (a *API) closed(c *conn, label string) {
	a.mu.Lock()
	delete(a.conns, c)
	a.taken--
	a.mu.Unlock()
	a.metrics.connections.Dec()
	a.metrics.closes.WithLabelValues(label).Inc()
}

// logInternal logs an error of which the client is told nothing.
func (a *API) logInternal(err error) {
	if e := core.AsError(err); e.Code == core.CodeInternal {
		a.config.Logger.Error("request failed", "code", e.Code, "error", err, "cause", e.Unwrap())
	}
}
