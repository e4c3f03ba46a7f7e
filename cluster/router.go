package cluster

import (
	"context"
	"log/slog"
	"sync"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// RouterConfig is what a Router needs. Ring, Store and Dialer are required, the rest has
// defaults.
type RouterConfig struct {
	Ring   Ring
	Store  *core.Store // this node's, over the shared log
	Dialer Dialer
	// Subscriptions are those that this node hosts, for other nodes' joins.
	Subscriptions subscriptions.Joiner
	// FailAtOnce answers no_node_available at once while the gate is closed. Else calls
	// wait until it opens, or their deadline.
	FailAtOnce bool
	// MaxWaiting bounds the calls that wait, for the gate or for their turn; beyond it
	// they are overloaded. The default is 10,000.
	MaxWaiting int
	// Head is called with positions that other nodes say the log has reached. It must
	// not block.
	Head   func(position uint64)
	Logger *slog.Logger
}

// Router is the Log of a node in a ring. All methods are safe for concurrent use.
type Router struct {
	config  RouterConfig
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
}

// NewRouter returns a Router. Close ends its goroutines. The Store stays open.
func NewRouter(config RouterConfig) *Router {
	if config.MaxWaiting == 0 {
		config.MaxWaiting = 10_000
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Router{config: config}
	r.closing, r.close = context.WithCancel(context.Background())
	return r
}

// Close answers what waits with shutting_down, waits for what other nodes and the Store
// have not answered until ctx ends, and closes all Links.
func (r *Router) Close(ctx context.Context) {
	r.close()
	r.running.Wait()
}

// Owner returns the owner of a name in the newest view that is known, and its epoch.
func (r *Router) Owner(name string) (ring.Member, uint64, bool) {
	state := r.config.Ring.State()
	owner, ok := state.Owner(name)
	if !ok {
		return ring.Member{}, 0, false
	}
	return owner, state.View.Epoch, true
}
