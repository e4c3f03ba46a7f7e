package sdk

import (
	"context"
	"crypto/tls"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// requestTimeout bounds a request whose context has no deadline.
	requestTimeout = 30 * time.Second
	// inflightBytes bounds the appends that wait for an answer: they are kept, to
	// be sent again if the connection breaks.
	inflightBytes = 32 << 20

	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
	// reconnectTimeout bounds one round over all addresses.
	reconnectTimeout = 10 * time.Second
	// elsewhereSooner divides the pause before another node is dialed: that a node which
	// shuts down asks for is for coming back to it.
	elsewhereSooner = 4
)

// Options are how to reach a node. The zero value is good for a local one.
type Options struct {
	// Name and Version identify the caller to the server.
	Name    string
	Version string
	// JSON asks for gyre.v1.json, which can be read on the wire, instead of
	// gyre.v1.bin.
	JSON bool
	// Compress asks the server to compress events, and compresses appends of 1 KiB or
	// more, if both sides can. It is for slow networks: events of 330 bytes become 46
	// bytes, but over loopback follows reach 35 to 60 % of their rate, and appends of 10
	// to 1,000 events 60 to 80 %. With JSON nothing is compressed.
	Compress bool
	// Token is the key that the client gives, in hello and in the Authorization header: never
	// in a URL. "" is none, for nodes that have no keys. Client.Refresh changes it. If a node
	// refuses the key, Dial returns unauthenticated or forbidden; a Client that has lost its
	// connection, as it does when its key ends, ends with that.
	Token string
	// Authorize, if it is set, adds what lets a request in to its headers, also to those of the
	// request for the WebSocket; in place of Token. It must not block.
	Authorize func(method, path string, h http.Header) error
	// TLS is for wss and https URLs; nil is Go's default.
	TLS *tls.Config
	// Once ends the Client with its first connection, instead of reconnecting. Every call
	// and follow then ends with the reason; an append that was sent and not answered is
	// unknown_outcome. Errors of the node are returned as they are, such as shutting_down.
	// It is for callers that choose the node themselves.
	Once bool
	// Peer is for links between nodes; nil for all other clients.
	Peer *Peer
	// OnState is called when the connection is made or lost. It must not block, nor
	// call the Client.
	OnState func(State)
}

// State is the state of a Client's connection.
type State struct {
	Connected bool
	Address   string // the http or https URL of the node, while connected
	Err       error  // why it is not; nil after Close
}

// Client is a core.Log over a connection to a node.
type Client struct {
	options Options // mu protects Token, the newest
	http    *http.Client
	// changing makes the requests that change something. A node that stops closes idle
	// connections; on one of those the outcome of a change would not be known.
	changing *http.Client
	window   window
	lastID   atomic.Uint64
	// frameLimit is how large a message the server takes.
	frameLimit int
	compressor *wire.Compressor

	closing context.Context
	close   context.CancelFunc
	done    chan struct{} // closed by fail
	running sync.WaitGroup

	mu      sync.Mutex // protects the fields below
	nodes   nodes
	session *session    // nil while there is no connection
	codec   wire.Codec  // of the newest session
	can     []string    // the features of its server
	down    *core.Error // why there is none; nil while there is
	calls   map[uint64]*call
	subs    map[uint64]sub
	failed  *core.Error // why there will be no other connection
}

var (
	_ core.Log       = (*Client)(nil)
	_ core.LogReader = (*Client)(nil)
)

// Dial connects to a node: an http, https, ws or wss URL, host:port, or :port of
// this machine. With commas between them, url has the addresses of several nodes of one
// ring; the first that answers is taken. Each may take 5 s, or its share of ctx if that is
// less. ctx bounds the first connect only. The error is unavailable if nothing answers, and
// says of each address why.
func Dial(ctx context.Context, url string, o Options) (*Client, error) {
	list, err := parseAddresses(url)
	if err == nil {
		err = checkToken(o.Token)
	}
	if err != nil {
		return nil, err
	}
	if o.Name == "" {
		o.Name = "gyre-go"
	}
	o.Peer.prepare(&o, list)
	c := &Client{
		options: o, nodes: nodes{configured: list}, calls: map[uint64]*call{}, subs: map[uint64]sub{}, done: make(chan struct{}),
		compressor: wire.NewCompressor(runtime.GOMAXPROCS(0)), // more at once gain nothing
		http:       newHTTPClient(&o, false),
		changing:   newHTTPClient(&o, true),
	}
	s, err := c.connect(ctx, list)
	if err != nil {
		return nil, err
	}
	c.window = window{maxCount: max(1, s.welcome.Limits.Inflight), maxBytes: inflightBytes}
	if o.Peer != nil {
		c.window.full = c.Flush
	}
	c.frameLimit = s.welcome.Limits.Frame
	c.closing, c.close = context.WithCancel(context.Background())
	c.attach(s)
	c.running.Go(func() { c.run(s) })
	c.running.Go(c.watchDeadlines)
	return c, nil
}

// Close ends the connection, and every call and follow with it. It returns when the client's
// goroutines have ended.
func (c *Client) Close() error {
	c.close()
	c.mu.Lock()
	s := c.session
	c.mu.Unlock()
	switch {
	case s == nil:
	case c.options.Peer != nil: // nobody waits for a node that may not answer
		_ = s.conn.Close()
	default:
		s.goodbye()
	}
	c.running.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// run keeps the client connected. It is the reader of each session in turn.
func (c *Client) run(s *session) {
	for s != nil {
		c.tell(State{Connected: true, Address: s.at.http})
		var writing sync.WaitGroup
		writing.Go(s.write)
		err := s.read(c)
		_ = s.conn.Close() // it is over either way
		writing.Wait()
		if s.isAway() {
			err = shutsDown(s)
		}
		s = c.again(s, err)
	}
}

// again makes the next session; nil when there is to be none.
func (c *Client) again(old *session, err error) *session {
	for try := 0; ; try++ {
		e := c.options.Peer.broken(err)
		c.detach(e)
		if c.closing.Err() != nil {
			c.fail(c.options.Peer.broken(core.Errorf(core.CodeCanceled, "the client was closed")))
			c.tell(State{})
			return nil
		}
		c.tell(State{Err: e})
		if c.options.Once || !e.Info().Retryable {
			c.fail(e)
			return nil
		}
		order := c.nextNodes(old)
		pause := backoff(try)
		if away := old.comeBackIn(); away > 0 && try == 0 {
			pause = away
			if len(order) > 1 {
				pause /= elsewhereSooner
			}
		}
		select {
		case <-time.After(pause):
		case <-c.closing.Done():
			continue
		}
		ctx, cancel := context.WithTimeout(c.closing, reconnectTimeout)
		var s *session
		s, err = c.connect(ctx, order)
		cancel()
		if err == nil {
			c.attach(s)
			return s
		}
	}
}

// backoff is how long to wait before a try: anything up to twice the last.
func backoff(try int) time.Duration {
	ceiling := min(maxBackoff, minBackoff<<min(try, 10))
	return minBackoff/5 + rand.N(ceiling)
}

func (c *Client) tell(s State) {
	if c.options.OnState != nil {
		c.options.OnState(s)
	}
}

// attach puts a session to use: what waits for an answer is sent again, in order,
// and follows and subscribers go on.
func (c *Client) attach(s *session) {
	c.mu.Lock()
	c.session, c.codec, c.can, c.down = s, s.codec, s.welcome.Features, nil
	finish := c.refuse()
	defer finish()
	defer c.mu.Unlock()
	c.nodes.at = s.at
	c.nodes.learn(s.at, s.welcome.Nodes)
	for _, call := range c.inOrder() {
		call.batch, call.refused = core.Batch{}, false
		call.sendOn(s)
	}
	for _, f := range c.subs {
		c.subscribe(f)
	}
	if c.closing.Err() != nil {
		s.goodbye()
	}
}

// detach notes that there is no session, and why. attach subscribes anew what is left.
func (c *Client) detach(why *core.Error) {
	c.mu.Lock()
	c.session, c.down = nil, why
	var lost []*call
	for id, call := range c.calls {
		if call.bound || call.once && call.tries > 0 {
			delete(c.calls, id)
			lost = append(lost, call)
		}
	}
	subs := maps.Clone(c.subs)
	c.mu.Unlock()
	for num, f := range subs {
		if !f.disconnected(why) {
			c.forget(num, f, why)
		}
	}
	for _, call := range lost {
		switch {
		case call.once:
			call.finish(c, answer{err: call.lost(why)})
		case call.answered:
			call.done(answer{err: core.Errorf(core.CodeLeaseLost, "the connection was lost before the answer: %w", why)})
		}
	}
}

// fail ends everything that waits, and what comes later.
func (c *Client) fail(e *core.Error) {
	c.mu.Lock()
	c.failed = e
	close(c.done)
	calls := c.inOrder()
	clear(c.calls)
	subs := c.subs
	c.subs = map[uint64]sub{}
	c.mu.Unlock()
	for _, call := range calls {
		call.finish(c, answer{err: call.lost(e)})
	}
	for _, f := range subs {
		f.end(e)
	}
}
