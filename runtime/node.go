package runtime

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/core/subscriptions/expression"
	"github.com/gyre-events/gyre/plugins/validators"
	"github.com/gyre-events/gyre/scavenge"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/dashboard"
)

// What is under way when a start fails is an answer of a few bytes.
const abortWithin = time.Second

// Node is a running node.
type Node struct {
	config Config
	logger *slog.Logger
	store  *core.Store
	subs   *subscriptions.Owner
	keys   *keys.Keys
	front  front
	place  placeInRing // if the node is in a ring

	starting *wsapi.Starting           // serves until there is an API
	api      atomic.Pointer[wsapi.API] // nil while the log is being opened
	failed   chan error

	ring       *ringNode // nil: the node is in none
	plugins    *Plugins  // nil: it runs none
	validators *validators.Validators
	judges     judges
	seen       *seen // nil before there is an API
	census     *census.Census
	scavenges  *scavenge.Job
	watching   sync.WaitGroup
	changing   sync.WaitGroup // see changes
	ending
}

// ending is how a node ends.
type ending struct {
	stopping chan struct{} // closed when Close begins
	left     chan struct{} // see Left
	leftOnce sync.Once
	closed   closed
}

// closed is the end of a node.
type closed struct {
	once sync.Once
	err  error
}

// Start runs a node until Close. ctx bounds the start only, which may take minutes
// after a crash, or as long as PostgresWait: meanwhile the node answers that it is
// starting. The error is invalid_config (also where the address is taken),
// insecure_listen, or the engine's.
func Start(ctx context.Context, config Config) (*Node, error) {
	config = config.withDefaults()
	if err := config.validate(ctx); err != nil {
		return nil, err
	}
	n := &Node{config: config, logger: config.Logger, failed: make(chan error, 1), ending: ending{stopping: make(chan struct{}), left: make(chan struct{})}}
	if err := n.front.listen(ctx, &config); err != nil {
		return nil, err
	}
	if err := n.locate(ctx); err != nil {
		return nil, errors.Join(err, n.front.abandon())
	}
	n.logger = config.Logger.With("node", n.config.Node)
	n.config.Logger = n.logger
	n.starting = wsapi.NewStarting(n.allowHosts(), config.AllowOrigins)
	n.front.serve(&n.config, n.handle, n.administer, n.failed)
	if err := n.open(ctx); err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
		defer cancel()
		_ = n.front.close(stopping) // it has said no more than that it is starting
		return nil, err
	}
	if n.config.Insecure {
		n.logger.LogAttrs(ctx, slog.LevelWarn, "insecure: without a key in the store, whoever reaches this node may read and write everything")
	}
	n.logger.LogAttrs(ctx, slog.LevelInfo, "listening", slog.String("url", n.URL()),
		slog.String("engine", config.Engine), slog.Uint64("head", n.store.State().Head))
	return n, nil
}

// locate finds out how others call and reach the node.
func (n *Node) locate(ctx context.Context) (err error) {
	address := n.Addr()
	if n.config.Ring.Enabled {
		if n.place, err = n.config.place(ctx, address); err != nil {
			return err
		}
		address = n.place.advertised
	}
	if n.config.Node == "" {
		n.config.Node = nodeName(address)
	}
	if !n.config.Ring.Enabled {
		return nil
	}
	if err := n.front.checkAdvertised(address); err != nil {
		return err
	}
	return n.place.setSync(&n.config)
}

// open opens the engine, and puts the API in front of it.
func (n *Node) open(ctx context.Context) error {
	engine, err := n.openEngine(ctx)
	if err != nil {
		return err
	}
	n.validators = validators.New()
	n.store = core.NewStore(engine, core.StoreConfig{Admit: n.validators.Admit})
	database, inPostgres := engine.(*postgres.Engine)
	if inPostgres && n.config.Ring.Enabled {
		err = n.openRing(ctx, database)
	} else {
		n.subs, err = subscriptions.New(n.subscriptionConfig())
	}
	if err != nil {
		return errors.Join(err, n.store.Close())
	}
	var api *wsapi.API
	if err = n.openKeys(ctx); err == nil {
		err = n.openPlugins(ctx)
	}
	if err == nil {
		n.openCensus()
		n.openScavenge()
		api, err = wsapi.New(n.apiConfig())
	}
	if err != nil {
		close(n.stopping)
		if late := errors.Join(n.closeParts(ctx), n.store.Close()); late != nil {
			err = errors.Join(err, late)
		}
		return err
	}
	if inPostgres {
		n.watching.Go(func() { n.watchEngine(database) })
	}
	n.api.Store(api)
	return nil
}

func (n *Node) subscriptionConfig() subscriptions.Config {
	return subscriptions.Config{Store: n.store, Compile: expression.NewCompiler().Compile, Judges: &n.judges, Logger: n.logger}
}

// closeParts ends what is between the API and the Store.
func (n *Node) closeParts(ctx context.Context) error {
	n.seen.close()
	if n.census != nil {
		n.census.Close()
	}
	if n.scavenges != nil {
		n.scavenges.Close()
	}
	if n.keys != nil {
		n.keys.Close()
	}
	err := errors.Join(n.plugins.close(ctx), n.validators.Close(ctx))
	if n.ring != nil {
		err = errors.Join(err, n.closeRing(ctx))
	} else {
		err = errors.Join(err, n.subs.Close(ctx))
	}
	return errors.Join(err, n.plugins.closeVersions())
}

// handle is the node's http.Handler.
func (n *Node) handle(w http.ResponseWriter, r *http.Request) {
	if api := n.api.Load(); api != nil {
		api.ServeHTTP(w, r)
		return
	}
	n.starting.ServeHTTP(w, r)
}

// administer is the http.Handler of Config.Admin.Listen.
func (n *Node) administer(w http.ResponseWriter, r *http.Request) {
	if api := n.api.Load(); api != nil {
		api.Admin(w, r)
		return
	}
	n.starting.ServeHTTP(w, r)
}

// allowHosts are the configured hosts, those of the certificate, and the one that the node
// listens on.
func (n *Node) allowHosts() []string {
	hosts := append(n.front.names(), n.config.AllowHosts...)
	for _, address := range []string{n.config.Listen, n.config.Admin.Listen, n.place.advertised} {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
			hosts = append([]string{host}, hosts...)
		}
	}
	return hosts
}

func (n *Node) apiConfig() wsapi.Config {
	n.seen = n.newSeen()
	c := wsapi.Config{
		Store:         n.store,
		Subscriptions: n.subs,
		Logger:        n.logger,
		Registry:      newRegistry(n.store, n.seen.subscriptions),
		AllowHosts:    n.allowHosts(),
		AllowOrigins:  n.config.AllowOrigins,
		Insecure:      n.config.Insecure,
		Admin:         n.config.Admin.Listen != "",
		MetricsOpen:   n.config.Admin.MetricsOpen,
		Version:       n.config.Version,
		Node:          n.config.Node,
		Limits:        wsapi.Limits{Memory: int(n.config.Load.ConnectionMemory), Load: wsapi.Load{Target: n.config.Load.TargetLatency}},
	}
	if n.front.certs != nil {
		registerTLSMetrics(c.Registry, n.front.certs)
	}
	if n.ring != nil {
		n.serveRing(&c)
	}
	if pages := dashboard.Pages(); pages != nil {
		c.Extensions = append(c.Extensions, wsapi.Extension{Feature: "dashboard", Dashboard: pages})
	}
	n.serveKeys(&c)
	n.serveChanges(&c)
	n.servePlugins(&c)
	n.serveCensus(&c)
	n.serveScavenge(&c)
	c.Extensions = append(c.Extensions, wsapi.Extension{Stats: n.stats, Routes: []wsapi.Route{n.settingsRoute()}}, n.backups())
	return c
}

// Addr is the address that the node listens on.
func (n *Node) Addr() string { return n.front.listener.Addr().String() }

// AdminAddr is the address for metrics and profiles; "" if it has none of its own.
func (n *Node) AdminAddr() string {
	if n.front.admin == nil {
		return ""
	}
	return n.front.admin.Addr().String()
}

// Logger is Config.Logger with the node's id in every line.
func (n *Node) Logger() *slog.Logger { return n.logger }

// URL is where clients of this machine reach the node.
func (n *Node) URL() string { return n.front.url() }

// Store is the node's store, for users in the same process. It ends with the node.
func (n *Node) Store() *core.Store { return n.store }

// Subscriptions are those of the node, for users in the same process. They end with
// the node.
func (n *Node) Subscriptions() *subscriptions.Owner { return n.subs }

// Failed tells, once, why the node can serve no more. It still has to be closed.
func (n *Node) Failed() <-chan error { return n.failed }

// Left is closed when somebody had the node leave its ring. It still has to be closed.
func (n *Node) Left() <-chan struct{} { return n.left }

// Close takes the node down. What is under way has until ctx ends and is cut off
// then, which is no error: what was acknowledged is safe in any case. The error is
// the store's. Later calls give the answer of the first.
func (n *Node) Close(ctx context.Context) error {
	n.closed.once.Do(func() {
		close(n.stopping)
		if n.ring != nil {
			n.handOver(ctx)
		}
		if err := errors.Join(n.api.Load().Close(ctx), n.front.close(ctx), n.closeParts(ctx)); err != nil {
			n.logger.LogAttrs(ctx, slog.LevelWarn, "cut off what did not end in time", slog.Any("error", err))
		}
		n.watching.Wait()
		n.closed.err = n.store.Close()
		n.changing.Wait()
		n.logger.LogAttrs(ctx, slog.LevelInfo, "stopped", slog.Uint64("head", n.store.State().Head))
	})
	return n.closed.err
}
