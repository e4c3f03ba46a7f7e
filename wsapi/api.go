package wsapi

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/ws"
)

// API serves a Store over WebSocket and HTTP.
type API struct {
	dashboard Dashboard // nil: there is none
	config    Config
	subs      Subscriptions // nil: there are none
	metrics   *metrics
	mux       *mux
	admin     *mux // of Admin
	guard     guard
	memory    *requests.Memory
	gates     *requests.Gates
	logins    *requests.Logins
	ws        *ws.Server
	relays    relays
	tickets   *secrets[string]
	sessions  *secrets[*session]
	stats     statistics

	draining atomic.Bool
	ctx      context.Context // ends with Close: event streams watch it
	cancel   context.CancelFunc
}

// New makes an API. It serves at once; Close ends it.
func New(config Config) (*API, error) {
	config, err := config.prepare()
	if err != nil {
		return nil, err
	}
	a := &API{config: config, guard: newGuard(config.AllowHosts, config.AllowOrigins), tickets: newTickets(), sessions: newSessions()}
	if a.metrics, err = newMetrics(&a.config); err != nil {
		return nil, err
	}
	if a.memory, err = requests.NewMemory(int64(config.Limits.Memory), a.metrics); err != nil {
		return nil, err
	}
	a.stats = statistics{api: a, began: time.Now()}
	if a.gates, err = requests.NewGates(&config.Limits, a.metrics); err != nil {
		return nil, err
	}
	a.logins = requests.NewLogins(config.Access, config.Limits.WrongKeys)
	connections := ws.Config{
		Store: config.Store, Limits: config.Limits, Logger: config.Logger,
		Memory: a.memory, Gates: a.gates, Metrics: a.metrics.Metrics, Registry: a.metrics,
		Version: config.Version, Node: config.Node, Nodes: config.Nodes, Features: a.features(), Logins: a.logins,
	}
	own := a.audited(a.toOwners(a.routes()))
	routes := append(slices.Clone(own), a.peerRoutes()...)
	connections.Ops = append(a.routeOps(own), clusterOp(config.Ring))
	connections.Subs = []Sub{a.statsSub()}
	for _, e := range config.Extensions {
		own := a.audited(a.toOwners(slices.Clone(e.Routes)))
		routes = append(routes, own...)
		connections.Ops = append(append(connections.Ops, e.Ops...), a.routeOps(own)...)
		connections.Subs = append(connections.Subs, e.Subs...)
		if e.Dashboard != nil {
			a.dashboard = e.Dashboard
		}
	}
	routes = append(routes, a.pageRoutes()...)
	if a.mux, err = newMux(routes, a.dashboard); err != nil {
		return nil, err
	}
	if a.admin, err = newMux(a.adminRoutes(), nil); err != nil {
		return nil, err
	}
	if config.Subscriptions != nil {
		a.subs = access.NewSubscriptionGuard(config.Subscriptions, config.Store, config.joinedNew(), a.config.reasons)
		connections.Subscriptions = a.subs
	}
	if a.ws, err = ws.NewServer(connections); err != nil {
		return nil, err
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a, nil
}

// Close ends event streams and relays and closes the connections (ws.Server.Close). It returns when
// their goroutines are gone. Requests that come later are answered shutting_down. HTTP
// requests that are being served are http.Server.Shutdown's to wait for.
func (a *API) Close(ctx context.Context) error {
	a.draining.Store(true)
	a.cancel()
	a.relays.close()
	return a.ws.Close(ctx)
}

// features are the parts of the protocol that this server has.
func (a *API) features() []string {
	list := []string{"cloudevents", "compress", "deletes", "filters", "follow", "progress", "selections", "snapshots"}
	if a.config.Subscriptions != nil {
		list = append(list, "subscriptions")
	}
	list = append(list, "tx")
	if a.config.Ring != nil {
		list = append(list, "cluster")
	}
	for _, e := range a.config.Extensions {
		if e.Feature != "" {
			list = append(list, e.Feature)
		}
	}
	return list
}

// webSocket is GET /v1/ws.
func (a *API) webSocket(w http.ResponseWriter, r *http.Request) error {
	p := access.Of(r.Context())
	if p == access.Nobody() {
		p = nil // who has no token here gives it in hello
	}
	return a.ws.Accept(w, r, p)
}
