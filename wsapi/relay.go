package wsapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// admitTimeout bounds the look for a session that this node does not know yet.
	admitTimeout     = time.Second
	relayDialTimeout = 2 * time.Second
	// relayIdle ends a tunnel in which nothing moves. Both ends of a link send pings.
	relayIdle   = 10 * time.Second
	relayBuffer = 32 << 10
	maxRelays   = 64
)

// relays are the tunnels from other nodes to others.
type relays struct {
	running sync.WaitGroup

	mu     sync.Mutex // protects the fields below
	closed bool
	open   int
	used   map[route]*generations
}

// route is a way through this node.
type route struct {
	from, target uint64
	use          wire.PeerUse
}

// generations are those that were used on a route. Tunnels that are asked for together come
// in any order, so one that is a little behind the highest is taken, too.
type generations struct {
	highest uint64
	used    uint64 // bit i: highest-i was used
}

// use reports whether generation n was not used before. One that is 64 or more
// behind the highest counts as used.
func (g *generations) use(n uint64) bool {
	if n > g.highest {
		g.used = g.used<<(n-g.highest) | 1
		g.highest = n
		return true
	}
	bit := uint64(1) << (g.highest - n) // 0 where it is too far behind
	if bit == 0 || g.used&bit != 0 {
		return false
	}
	g.used |= bit
	return true
}

// begin takes a place for a tunnel. A handshake is good for one.
func (rs *relays) begin(h *wire.Handshake, known func(session uint64) bool) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for r := range rs.used {
		if !known(r.from) {
			delete(rs.used, r)
		}
	}
	at := route{h.From, h.Target, h.Use}
	switch {
	case rs.closed:
		return core.Errorf(core.CodeShuttingDown, "the node is shutting down")
	case rs.open >= maxRelays:
		e := core.Errorf(core.CodeTooManyConnections, "%d relays are open", rs.open)
		e.Limit = maxRelays
		return e
	}
	if rs.used == nil {
		rs.used = map[route]*generations{}
	}
	if rs.used[at] == nil {
		rs.used[at] = new(generations)
	}
	if !rs.used[at].use(h.Generation) {
		return core.Errorf(core.CodePeerDenied, "session %d has used generation %d of a relay to %d before", h.From, h.Generation, h.Target)
	}
	rs.open++
	rs.running.Add(1)
	return nil
}

func (rs *relays) end() {
	rs.mu.Lock()
	rs.open--
	rs.mu.Unlock()
	rs.running.Done()
}

// close refuses later tunnels and waits for the end of those that are open, whose context
// has ended.
func (rs *relays) close() {
	rs.mu.Lock()
	rs.closed = true
	rs.mu.Unlock()
	rs.running.Wait()
}

// hijackRelay answers the request for a tunnel, and returns its connection.
func hijackRelay(w http.ResponseWriter, proof string) (net.Conn, error) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, core.Errorf(core.CodeInternal, "take the connection over: %w", err)
	}
	_ = conn.SetDeadline(time.Now().Add(relayIdle)) // tunnel moves it; it fails where the write does
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n%s: %s\r\n\r\n",
		wire.RelayProtocol, wire.PeerHeader, proof)
	if err != nil {
		_ = conn.Close()
		return nil, core.Errorf(core.CodeUnavailable, "the caller of a relay is gone: %w", err)
	}
	return conn, nil
}

// tunnel copies both ways until one side ends, nothing moves any more, or ctx ends. It
// closes both.
func tunnel(ctx context.Context, a, b net.Conn) {
	closeBoth := func() {
		_ = a.Close()
		_ = b.Close()
	}
	stop := context.AfterFunc(ctx, closeBoth)
	defer stop()
	var back sync.WaitGroup
	back.Go(func() {
		pass(a, b)
		closeBoth()
	})
	pass(b, a)
	closeBoth()
	back.Wait()
}

// pass copies what comes from one side to the other, until either ends.
func pass(to, from net.Conn) {
	buffer := make([]byte, relayBuffer)
	for {
		_ = from.SetReadDeadline(time.Now().Add(relayIdle)) // it fails where the read does
		n, err := from.Read(buffer)
		if n > 0 {
			_ = to.SetWriteDeadline(time.Now().Add(relayIdle))
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
