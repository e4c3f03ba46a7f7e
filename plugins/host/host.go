package host

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// Programs makes versions ready to run.
type Programs interface {
	// Load returns the Program of a version, which the host closes. It may take seconds.
	Load(ctx context.Context, v plugins.Version) (plugins.Program, error)
	// LoadQuery returns a Program of a version whose handlers are handed queries, which they answer
	// as the result of the event 0. The error is no_query if it answers none.
	LoadQuery(ctx context.Context, v plugins.Version) (plugins.Program, error)
}

// Versions finds uploaded versions.
type Versions interface {
	// Version returns a version. The errors are plugin_not_found and version_not_found.
	Version(ctx context.Context, plugin, version string) (plugins.Version, error)
	// CheckConfig checks a config against the version's schema. The error is
	// invalid_plugin_config.
	CheckConfig(v *plugins.Version, config []byte) error
	// Hold returns an operation for the Commit of a binding that uses a version. It has the
	// Commit refused with record_conflict if the version was deleted meanwhile.
	Hold(v *plugins.Version) (core.RecordOp, error)
}

// Output takes what the handler of a lane reports. It is used by one goroutine.
type Output = effects.Output

// Config is what a Host needs. All of it is required but Output, Outside and Logger.
type Config struct {
	// Store is that of Subscriptions: in a ring, its Commits are made as the owner.
	Store         subscriptions.Store
	Subscriptions *subscriptions.Owner
	Programs      Programs
	Versions      Versions
	// Output returns the output of a lane; nil discards it all.
	Output func(b *plugins.Binding, lane int) Output
	// Outside is what handlers reach beside the store; nil has none.
	Outside effects.Outside
	// Ended is called when a binding does not run here any more, after its lanes have ended,
	// and when what is left of a binding that was deleted is swept: its generations up to
	// deleted are gone, or none if that is 0. It may be called more than once. nil does
	// nothing.
	Ended func(ctx context.Context, binding string, deleted uint64) error
	// Logger gets what is about the node; nil discards it.
	Logger *slog.Logger
}

// Host runs the bindings whose subscriptions this node owns. It is safe for concurrent use.
type Host struct {
	config  Config
	without rules

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup // the supervisor, the sweeper and the drivers
	look    chan struct{}  // holds 1: the supervisor has something to look at
	sweep   chan struct{}  // holds 1: there may be something to sweep

	unreadable sync.Map                      // keys of bindings that cannot be read, which was logged
	owned      atomic.Pointer[[]generations] // what the supervisor has seen last: see Owned
	handling   atomic.Int64                  // batches that handlers of bindings have

	feeds   feeds
	watches watches
	queries queries

	mu      sync.Mutex // protects the fields below
	drivers map[driven]*driver
	dryRuns int // under way
	closed  bool
}

// lookEvery is how often the supervisor looks at what is stored: bindings that were deployed
// at another node, and subscriptions that have come to this one.
const lookEvery = time.Second

// New starts a Host. Close ends it.
func New(config Config) (*Host, error) {
	if config.Store == nil || config.Subscriptions == nil || config.Programs == nil || config.Versions == nil {
		return nil, errors.New("host: store, subscriptions, programs and versions are required")
	}
	return start(config.withDefaults(), 0), nil
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Ended == nil {
		c.Ended = func(context.Context, string, uint64) error { return nil }
	}
	if c.Outside == nil {
		c.Outside = nowhere{}
	}
	if c.Output == nil {
		c.Output = func(*plugins.Binding, int) Output { return silence{} }
	}
	return c
}

func start(config Config, without rules) *Host {
	h := &Host{config: config, without: without, look: make(chan struct{}, 1), sweep: make(chan struct{}, 1), drivers: map[driven]*driver{}}
	h.queries.slots = make(chan struct{}, maxQueries)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.running.Go(h.supervise)
	h.running.Go(h.sweepAll)
	return h
}

// Close ends all runners, and returns when nothing of them is under way, or when ctx ends.
// What was not committed is handled again by the next owner. Config.Subscriptions is closed
// after.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.queries.close()
	return plugins.Wait(ctx, &h.running)
}

// Look has the Host look at once for bindings to run here, as it does every second. Call it
// when the node has come to own subscriptions: what is to be swept of their bindings comes
// with them.
func (h *Host) Look() {
	wake(h.look)
	wake(h.sweep)
}

// supervise keeps the bindings of this node running.
func (h *Host) supervise() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		h.queries.drop(time.Now().Add(-keptFor), maxQueries)
		h.watches.drop(time.Now().Add(-keptFor))
		if err := h.startAll(); err != nil && h.ctx.Err() == nil {
			h.config.Logger.Warn("looking for plugin bindings", "error", err)
		}
		select {
		case <-h.look:
		case <-tick.C:
		case <-h.ctx.Done():
			return
		}
	}
}

// startAll starts a driver for each generation that is to run here and has none.
func (h *Host) startAll() error {
	var owned []generations
	at := map[string]int{} // owned
	err := h.each(h.ctx, bindingsTable, "", "", func(b *binding) bool {
		if h.config.Subscriptions.Owned(b.Subscription) == nil {
			if len(owned) < MaxOwned {
				at[b.Name] = len(owned)
				owned = append(owned, generations{live: b})
			}
			h.drive(b)
		}
		return true
	})
	if err != nil {
		return err
	}
	err = h.each(h.ctx, othersTable, "", "", func(b *binding) bool {
		if h.config.Subscriptions.Owned(b.Subscription) != nil {
			return true
		}
		h.drive(b)
		if i, ok := at[b.Name]; ok && b.role == roleBeside {
			owned[i].beside = b
		} else if ok {
			owned[i].before = b
		}
		return true
	})
	if err == nil {
		h.owned.Store(&owned)
	}
	return err
}

// runs reports whether a generation is to run somewhere.
func (b *binding) runs() bool { return b.role != roleBefore && !b.Paused && b.Stopped == "" }

// each calls do for the bindings of a table with a prefix, behind a key, until it is false.
func (h *Host) each(ctx context.Context, table, prefix, after string, do func(*binding) bool) error {
	return h.scan(ctx, table, prefix, after, func(r *core.Record) (bool, error) {
		b, err := decodeBinding(table, r)
		if err != nil { // it stops no other
			if _, again := h.unreadable.LoadOrStore(r.Key, true); !again {
				h.config.Logger.Error("a plugin binding cannot be read", "binding", r.Key, "error", err)
			}
			return true, nil
		}
		return do(b), nil
	})
}

// scan calls do for the records of a table with a prefix, behind a key, until it is false.
func (h *Host) scan(ctx context.Context, table, prefix, after string, do func(*core.Record) (bool, error)) error {
	for {
		page, err := h.config.Store.Records(ctx, core.RecordsRequest{Table: table, Prefix: prefix, After: after, Limit: core.MaxReadEvents})
		if err != nil {
			return err
		}
		for i := range page {
			if more, err := do(&page[i]); err != nil || !more {
				return err
			}
		}
		if len(page) < core.MaxReadEvents {
			return nil
		}
		after = page[len(page)-1].Key
	}
}

// wake fills a channel that holds 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// silence is an Output that nobody reads.
type silence struct{}

func (silence) At(uint64)                                  {}
func (silence) Log(abi.Level, []byte)                      {}
func (silence) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.OK }
