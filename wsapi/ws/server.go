package ws

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// closeGrace is how long Close waits, after its time is up, for close frames to go
// out.
const closeGrace = 250 * time.Millisecond

// handlingGrace is how long a client may take, after goaway, for the events that it handles.
const handlingGrace = 1500 * time.Millisecond

// version is that of the WebSocket protocol.
const version = "13"

// Store is what connections append to and read from.
type Store interface {
	core.Log
	core.LogReader
	core.RecordReader
	// Submit is core.Store.Submit: an append whose answer is called back.
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	State() core.State
}

// Config is what a Server needs.
type Config struct {
	Store         Store
	Subscriptions subscriptions.Joiner // nil: there are none

	Logins  *requests.Logins
	Limits  requests.Limits // prepared
	Memory  *requests.Memory
	Gates   *requests.Gates
	Metrics *requests.Metrics
	// Registry takes the metrics of connections.
	Registry prometheus.Registerer
	Logger   *slog.Logger

	// Version, Node and Features are sent in welcome.
	Version, Node string
	Features      []string
	// Nodes returns the addresses of the other nodes, for welcome and goaway; nil: none.
	Nodes func() []string

	// Ops and Subs are those of extensions.
	Ops  []Op
	Subs []Sub
}

// Server serves connections.
type Server struct {
	config     Config
	clients    service
	peers      *peers
	compressor *wire.Compressor
	// refusals are answers to requests that the Gates refuse, without their beginning.
	refusals map[*core.Error][]byte
	upgrader websocket.Upgrader

	draining atomic.Bool
	running  sync.WaitGroup // the connections, and handshakes under way

	strangers *requests.Places // of clients that have not said hello

	mu                       sync.Mutex // protects the fields below
	conns                    map[*conn]struct{}
	clientPlaces, linkPlaces places
}

// places bound connections and handshakes under way. Server.mu protects them.
type places struct{ limit, taken int }

// NewServer returns a Server that accepts connections until Close.
func NewServer(config Config) (*Server, error) {
	if config.Nodes == nil {
		config.Nodes = func() []string { return nil }
	}
	s := &Server{config: config, conns: map[*conn]struct{}{}}
	s.clientPlaces.limit, s.linkPlaces.limit = config.Limits.Connections, maxLinks
	s.refusals = map[*core.Error][]byte{}
	if config.Gates != nil {
		for _, err := range config.Gates.Refusals() {
			s.refusals[err] = bytes.TrimPrefix(wire.Encode(nil, &wire.Failure{Error: wire.NewError(err)}), []byte(`{"op":"error",`))
		}
	}
	s.strangers = requests.NewPlaces(config.Limits.Handshakes, 0)
	s.compressor = wire.NewCompressor(runtime.GOMAXPROCS(0)) // more at once gain nothing
	s.upgrader = websocket.Upgrader{
		Subprotocols:    []string{wire.Bin, wire.JSON},
		WriteBufferPool: writeBuffers,
		WriteBufferSize: writeBufferBytes,
		CheckOrigin:     func(*http.Request) bool { return true }, // the caller has
		Error:           func(http.ResponseWriter, *http.Request, int, error) {},
	}
	s.clients = service{server: s, config: &s.config, places: &s.clientPlaces}
	var err error
	if s.clients.ops, err = newOps(&config); err != nil {
		return nil, err
	}
	if s.clients.metrics, err = newMetrics(config.Registry); err != nil {
		return nil, err
	}
	s.peers, err = newPeers(config, s.clients.ops)
	return s, err
}

// Accept upgrades a request and serves its connection, in goroutines of its own. The
// connection is for p, or, if that is nil, for the principal of the token in its hello. An
// error is the caller's to answer, unless the connection is gone.
func (s *Server) Accept(w http.ResponseWriter, r *http.Request, p *access.Principal) error {
	if r.Header.Get("Sec-WebSocket-Version") != version && r.Header.Get("Sec-WebSocket-Key") != "" {
		w.Header().Set("Sec-WebSocket-Version", version)
		return core.Errorf(core.CodeVersionUnsupported, "the WebSocket version is %s", version)
	}
	offered := websocket.Subprotocols(r)
	offered = slices.DeleteFunc(offered, wire.IsBearerProtocol)
	bin, known := false, len(offered) == 0
	for _, p := range offered {
		bin = bin || p == wire.Bin
		known = known || p == wire.Bin || p == wire.JSON
	}
	if !known {
		return core.Errorf(core.CodeVersionUnsupported, "none of the offered subprotocols is known")
	}
	from := requests.AddressOf(r.RemoteAddr)
	greeted, err := s.takeClient(from)
	if err != nil {
		return err
	}
	ws, err := s.upgrade(w, r, nil)
	if err != nil {
		greeted()
		s.givePlace(&s.clientPlaces)
		return err
	}
	c := newConn(&s.clients, bin)
	whom := &c.calls.whom
	whom.given, whom.address, whom.from, whom.greeted = p, access.Address(r.RemoteAddr), from, greeted
	c.socket = newGorilla(ws, c.noteActivity, c.grow)
	s.opened(c)
	return nil
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, answer http.Header) (*websocket.Conn, error) {
	ws, err := s.upgrader.Upgrade(w, r, answer)
	if err != nil {
		w.Header().Del("Sec-WebSocket-Version") // the upgrader's, whatever is wrong
		return nil, core.Errorf(core.CodeProtocolError, "not a WebSocket handshake: %s", err.Error())
	}
	return ws, nil
}

// Close says goaway to every connection, lets what is under way finish for as long as
// ctx lasts, closes the connections with 4000, and returns when all goroutines of the
// Server are gone; those that wait for the storage of Commits of other nodes end with the
// Store if ctx ends before.
func (s *Server) Close(ctx context.Context) error {
	conns := s.drain()
	for _, c := range conns {
		// Not all at once: the next node, or this one again, has to take them.
		c.drain(200 + rand.Int64N(1000))
	}
	s.endClients(ctx, conns)
	gone, settled := make(chan struct{}), make(chan struct{})
	go func() {
		s.running.Wait()
		close(gone)
		s.peers.settling.Wait()
		close(settled)
	}()
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-settled:
		return nil
	case <-time.After(closeGrace):
	}
	for _, c := range s.drain() { // also those that have opened meanwhile
		c.abort()
	}
	<-gone
	return ctx.Err()
}

// endClients closes connections when what is under way on them has ended. A client that
// handles events gets the time to finish, so that nobody else handles them beside it: it
// leaves when it has.
func (s *Server) endClients(ctx context.Context, conns []*conn) {
	handling, cancel := context.WithTimeout(ctx, handlingGrace)
	defer cancel()
	var handlers []*conn
	for _, c := range conns {
		c.calls.wait(ctx)
		if c.peer == nil && c.handles() {
			handlers = append(handlers, c)
			continue
		}
		c.close(&closing{code: closeShutdown})
	}
	for _, c := range handlers {
		select {
		case <-c.ctx.Done():
		case <-handling.Done():
		}
		c.calls.wait(ctx)
		c.close(&closing{code: closeShutdown})
	}
}

// drain refuses later connections, and returns those that are open. One whose handshake
// is under way is closed when it opens.
func (s *Server) drain() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining.Store(true)
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		list = append(list, c)
	}
	return list
}

// takeClient takes the places of a client's connection: its own, and one among those of its
// address that have not said hello, which greeted gives back.
func (s *Server) takeClient(from requests.Address) (greeted func(), err error) {
	if err := s.takePlace(&s.clientPlaces); err != nil {
		return nil, err
	}
	if _, ok := s.strangers.Take(from); !ok {
		s.givePlace(&s.clientPlaces)
		return nil, tooMany(s.strangers.Limit(from), "of "+from.String()+" have not said hello")
	}
	return sync.OnceFunc(func() { s.strangers.Give(from) }), nil
}

// takePlace takes a place for a connection, unless the Server is full or closing.
func (s *Server) takePlace(p *places) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	}
	if p.taken >= p.limit {
		return tooMany(p.limit, "are open")
	}
	p.taken++
	s.running.Add(1)
	return nil
}

func tooMany(limit int, which string) error {
	e := core.Errorf(core.CodeTooManyConnections, "%d connections %s", limit, which)
	e.Limit = int64(limit)
	return e
}

// givePlace gives back what takePlace has taken.
func (s *Server) givePlace(p *places) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.taken--
	s.running.Done()
}

// opened registers and starts a connection. One whose handshake was under way when Close
// began is closed like the others.
func (s *Server) opened(c *conn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.metrics.connections.Inc()
	if s.draining.Load() {
		c.close(&closing{code: closeShutdown})
	}
	// Not in the goroutine of the request, which holds a lot of memory.
	go c.run()
}

// closed forgets a connection.
func (s *Server) closed(c *conn, label string) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.metrics.connections.Dec()
	c.metrics.closes.WithLabelValues(label).Inc()
	s.givePlace(c.places)
}
