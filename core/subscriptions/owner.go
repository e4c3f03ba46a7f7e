package subscriptions

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Store is what an Owner stands on: the node's core.Store.
type Store interface {
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	Append(ctx context.Context, c core.Commit) (core.Result, error)
	Read(ctx context.Context, r core.ReadRequest) (core.Page, error)
	Follow(ctx context.Context, f core.FollowRequest) (core.Follower, error)
	Event(ctx context.Context, id core.ID) (core.Event, error)
	Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error)
	State() core.State
	core.RemovalWatcher
	core.DeletionWatcher
}

var (
	_ Store  = (*core.Store)(nil)
	_ Joiner = (*Owner)(nil)
)

// Config is what an Owner needs. Store is required.
type Config struct {
	Store Store
	// Compile makes programs of expressions; without it definitions have none.
	Compile Compiler
	// Judges makes programs of plugins; without it definitions have none.
	Judges Judges
	// Logger gets what nobody is answered; nil discards it.
	Logger *slog.Logger
	// MaxActive bounds the subscriptions that have subscribers at a time; 10,000
	// if 0.
	MaxActive int
	// MaxStored bounds the subscriptions of the log that are not transient; 100,000 if 0. Nodes
	// that create some at the same time may pass it by a few for each.
	MaxStored int
	// Owns returns an error for a subscription that another node owns: it is that of
	// every method that names one, and not_serving while this node may become the owner. nil owns
	// all. It must not block. When it owns more names than before, TakeOver has to be called.
	Owns func(name string) error
}

// Owner owns the subscriptions of a node: it keeps what is stored of them, and hosts
// those that have subscribers.
type Owner struct {
	config  Config
	store   Store
	records records
	id      string // of this Owner, in what it stores

	ctx          context.Context // ends with Close
	cancel       context.CancelFunc
	running      sync.WaitGroup // the goroutines of hosts, and those beside clock
	sweep        chan struct{}  // holds 1: something was deleted
	clock        clock
	checkpointer checkpointer
	loader       loader
	count        count
	parkedWork   chan struct{} // holds 1: there may be removed events that are parked

	parkedStreams parkedStreams

	mu     sync.Mutex // protects the fields below
	names  map[nameKey]*nameLock
	active int // names with a host
	parked parkedExpiry
	closed bool
}

// nameKey names a subscription. A transient one and a stored one of the same name have
// nothing to do with each other. Who owns a key is decided by its name alone.
type nameKey struct {
	name      string
	transient bool
	unnamed   string // the incarnation, if it is one without the name: see unnamed.go
}

// stored is the key of one that is not transient.
func stored(name string) nameKey { return nameKey{name: name} }

// nameLock is the place of a name, while somebody works on it or it is hosted. Work on a
// subscription as a whole (creating, joining, resetting, deleting) is done by who
// holds its lock, one at a time.
type nameLock struct {
	key   nameKey
	held  chan struct{} // holds 1 while somebody does
	users int           // who holds it or wants to; Owner.mu protects it
	host  *host         // nil if it is not hosted; written with both the name locked and Owner.mu held
}

// New makes an Owner. Its goroutines end in Close.
func New(config Config) (*Owner, error) {
	if config.Store == nil {
		return nil, errors.New("subscriptions: no store")
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.MaxActive == 0 {
		config.MaxActive = 10_000
	}
	if config.MaxStored == 0 {
		config.MaxStored = 100_000
	}
	o := &Owner{
		config: config, store: config.Store, records: records{config.Store}, id: core.NewID().String(),
		names: map[nameKey]*nameLock{}, sweep: make(chan struct{}, 1), clock: makeClock(), checkpointer: makeCheckpointer(),
		count: count{held: make(chan struct{}, 1)}, parkedWork: make(chan struct{}, 1), parkedStreams: makeParkedStreams(),
	}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	o.loader = makeLoader(o.records, o.ctx.Done())
	wake(o.sweep) // what an earlier Owner left
	o.running.Go(o.sweepRemovals)
	o.running.Go(func() { o.clock.run(o.ctx) })
	o.running.Go(func() { o.checkpointer.run(o.ctx) })
	o.running.Go(func() { o.loader.run(o.ctx) })
	removals := o.store.Removals()
	o.running.Go(func() { o.watchRemovals(removals) })
	deletions := o.store.Deletions()
	o.running.Go(func() { o.watchDeletions(deletions) })
	o.running.Go(o.expireParked)
	return o, nil
}

// JoinRequest is who wants to be a subscriber.
type JoinRequest struct {
	Name string
	// Definition is what the subscription is created with if there is none, or must
	// have. Without one it is joined as it is, and never created.
	Definition *Definition
	// AnyOptions joins a subscription that exists as it is, whatever Definition says.
	AnyOptions bool
	// Incarnation is that of a Delivery, for a subscriber that comes back. Only that
	// incarnation is joined, as it is: if it was deleted, the error is
	// subscription_not_found.
	Incarnation string
	// Transient is a subscription of which nothing is stored: it begins with its first
	// subscriber, at From, and is over when its last one has left. Who joins one that is
	// there joins it where it is. What it would park is passed over. A Detached
	// subscriber cannot have one.
	Transient bool
	// Consumer is a name for people.
	Consumer string
	// Workers is how many events the consumer handles at a time; 1 if 0. With more, one
	// event of a key is in flight to it at a time.
	Workers int
	// BufferSize is how many events may be in flight to it, if it is less than the
	// Definition's and not 0.
	BufferSize int
	Credit     delivery.Credit
	// Wake is called when Take may have something to return. It must not wait, nor call
	// the Subscriber. It may be nil; JoinWaiting is for a goroutine that waits.
	Wake func()

	// Detached is a subscriber without a connection: it gets one batch. Its lease
	// ends when that is answered, or with the time to ack, counted from the end of
	// Wait. So long Join also waits for a place, where there are too many subscribers.
	Detached bool
	Wait     time.Duration
	// Lease is that of a detached one, to be found again; the other fields but Name
	// and Principal have no meaning then.
	Lease uint64
	// Principal is for whom a detached subscriber is. Another one does not find it again.
	Principal string

	bound   bool   // see JoinBound
	unnamed string // see JoinUnnamed
}

// Join begins a lease. The errors are those of Put, subscription_not_found,
// subscription_in_use and too_many_subscribers; and lease_lost where a Lease is to be
// found again.
func (o *Owner) Join(ctx context.Context, r JoinRequest) (Subscriber, error) {
	if r.Lease != 0 {
		return o.attach(&r)
	}
	if r.Transient {
		if err := r.validateTransient(); err != nil {
			return nil, err
		}
	}
	late := time.NewTimer(r.Wait)
	defer late.Stop()
	for {
		s, place, err := o.join(ctx, &r)
		if place == nil || !r.Detached {
			return s, err
		}
		select {
		case <-place:
			continue
		case <-late.C:
		case <-ctx.Done():
		}
		return nil, err
	}
}

// join is Join that does not wait. Where there is no place, place is closed when there may
// be one.
func (o *Owner) join(ctx context.Context, r *JoinRequest) (s Subscriber, place <-chan struct{}, err error) {
	lock, err := o.enter(ctx, nameKey{r.Name, r.Transient, r.unnamed})
	if err != nil {
		return nil, nil, err
	}
	defer o.leave(lock)
	for {
		h, err := o.hosted(ctx, lock, func() (*loaded, error) { return o.loadOrCreate(ctx, lock.key, r) })
		if err != nil {
			return nil, nil, err
		}
		if err := h.incarnation.takes(r); err != nil {
			return nil, nil, err
		}
		s, place, err := h.join(r)
		switch {
		case err == nil:
			return s, nil, nil
		case h.ctx.Err() == nil:
			return nil, place, err
		}
		// It has ended meanwhile: the next one may take the subscriber.
	}
}

// attach finds a detached subscriber. It does not wait for who works on the
// subscription, who may be waiting for its answers.
func (o *Owner) attach(r *JoinRequest) (Subscriber, error) {
	if err := o.owned(r.Name); err != nil {
		return nil, err
	}
	o.mu.Lock()
	lock, closed := o.names[stored(r.Name)], o.closed
	var h *host
	if lock != nil {
		h = lock.host
	}
	o.mu.Unlock()
	if closed {
		return nil, errClosed()
	}
	if h == nil {
		return nil, noLease(r)
	}
	return h.attached(r)
}

// noLease is the error where a detached subscriber is not found again. It is the same for a lease
// of another principal, so that nobody finds those out.
func noLease(r *JoinRequest) error {
	return core.Errorf(core.CodeLeaseLost, "lease %d has ended, or is another key's", r.Lease)
}

// owned checks that a name is one, and that of a subscription that this Owner owns.
func (o *Owner) owned(name string) error {
	if err := ValidateName(name); err != nil || o.config.Owns == nil {
		return err
	}
	return o.config.Owns(name)
}

// enter waits for the lock of a name that is owned. leave has to be called.
func (o *Owner) enter(ctx context.Context, key nameKey) (*nameLock, error) {
	if err := o.owned(key.name); err != nil {
		return nil, err
	}
	lock, err := o.hold(ctx, key)
	if err != nil {
		return nil, err
	}
	if err := o.owned(key.name); err != nil { // it was released meanwhile
		o.leave(lock)
		return nil, err
	}
	return lock, nil
}

// hold is enter whoever owns the name.
func (o *Owner) hold(ctx context.Context, key nameKey) (*nameLock, error) {
	if err := ctx.Err(); err != nil {
		return nil, core.AsError(err)
	}
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return nil, errClosed()
	}
	lock := o.names[key]
	if lock == nil {
		lock = &nameLock{key: key, held: make(chan struct{}, 1)}
		o.names[key] = lock
	}
	lock.users++
	o.mu.Unlock()
	select {
	case lock.held <- struct{}{}:
		return lock, nil
	case <-ctx.Done():
		o.drop(lock)
		return nil, core.AsError(ctx.Err())
	}
}

func (o *Owner) leave(lock *nameLock) {
	<-lock.held
	o.drop(lock)
}

func (o *Owner) drop(lock *nameLock) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lock.users--
	if lock.host != nil && lock.host.ctx.Err() != nil {
		o.checkpointer.add(&lock.host.saver) // which forgets the host
		return
	}
	o.tidy(lock)
}

// tidy forgets a name that nobody uses. mu is held.
func (o *Owner) tidy(lock *nameLock) {
	if lock.users == 0 && lock.host == nil {
		delete(o.names, lock.key)
	}
}

// forget takes notice of a host that has ended by itself, and whose last Commit is
// answered: the next of its name begins from what is stored.
func (o *Owner) forget(h *host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if lock := o.names[h.incarnation.key]; lock != nil && lock.host == h && lock.users == 0 {
		o.setHost(lock, nil)
		o.tidy(lock)
	}
}

func errClosed() error { return core.Errorf(core.CodeShuttingDown, "the node is shutting down") }

// hosted is the host of a name, begun if there is none. The name is locked.
func (o *Owner) hosted(ctx context.Context, lock *nameLock, load func() (*loaded, error)) (*host, error) {
	if h := lock.host; h != nil && h.ctx.Err() == nil {
		return h, nil
	}
	if err := o.unhost(lock, nil); err != nil {
		return nil, err
	}
	l, err := load()
	if err != nil {
		return nil, err
	}
	h, err := o.newHost(ctx, l)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		err = errClosed()
	case o.active >= o.config.MaxActive:
		err = core.Errorf(core.CodeOverloaded, "%d subscriptions are active, which is the limit", o.active)
	default:
		o.setHost(lock, h)
		return h, nil
	}
	h.end(err)
	return nil, err
}

// setHost notes the host of a name, or that it has none any more. mu is held.
func (o *Owner) setHost(lock *nameLock, h *host) {
	if lock.host != nil {
		o.active--
	}
	if h != nil {
		o.active++
	}
	lock.host = h
}

// unhost ends the host of a name, if there is one, for a reason. The name is locked.
func (o *Owner) unhost(lock *nameLock, why error) error {
	if lock.host == nil {
		return nil
	}
	lock.host.stop(why)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.setHost(lock, nil)
	if o.closed {
		return errClosed()
	}
	return nil
}

// retire ends a host that nobody needs, and reports whether it could.
func (o *Owner) retire(h *host) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	lock := o.names[h.incarnation.key]
	if o.closed || lock == nil || lock.host != h || lock.users > 0 || h.busy() {
		return false
	}
	h.end(core.Errorf(core.CodeSubscriptionInterrupted, "subscription %q was idle", core.Clip(h.incarnation.key.name)))
	o.setHost(lock, nil)
	o.tidy(lock)
	return true
}

// hosts are those of now.
func (o *Owner) hosts() (hosts []*host) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, lock := range o.names {
		if lock.host != nil {
			hosts = append(hosts, lock.host)
		}
	}
	return hosts
}

// watchRemovals has hosts, and expireParked, look for events that are gone, until the Owner is
// closed.
func (o *Owner) watchRemovals(seen uint64) {
	for {
		var err error
		if seen, err = o.store.AwaitRemoval(o.ctx, seen); err != nil {
			return
		}
		for _, h := range o.hosts() {
			h.mu.Lock()
			h.current()
			h.mu.Unlock()
		}
		wake(o.parkedWork)
	}
}

// Close ends all subscribers with shutting_down, stores the checkpoints, as far as
// that is done before ctx ends, and returns when the Owner's goroutines are gone.
// Later calls of any method are answered shutting_down, but that another Close returns
// with the first.
func (o *Owner) Close(ctx context.Context) error {
	o.mu.Lock()
	again := o.closed
	o.closed = true
	o.mu.Unlock()
	if again {
		o.running.Wait()
		return nil
	}
	hosts := o.hosts()
	for _, h := range hosts {
		h.dismiss(errClosed())
	}
	var err error
	for _, h := range hosts {
		if h.incarnation.key.transient { // which has ended with its subscribers
			continue
		}
		if why := h.awaitSettled(ctx); !errors.Is(why, core.CodeSubscriptionInterrupted) { // it has another owner, who stores
			err = errors.Join(err, why)
		}
	}
	for _, h := range hosts {
		h.end(errClosed())
	}
	o.cancel()
	o.running.Wait()
	return err
}
