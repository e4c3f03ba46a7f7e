package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

const (
	// drainFor is how long a subscription that moves waits for answers to what is in
	// flight. What is not answered by then is delivered again by the next owner.
	drainFor = 1500 * time.Millisecond
	// holdFor is how long a join waits for this node to hold the slot of its name.
	holdFor = 2 * time.Second
	// learnFor is how long a Commit that is refused with stale_epoch waits for a newer
	// view before the subscription tries it again.
	learnFor = time.Second
)

// Hosting connects the subscriptions that a node hosts with the ring. It makes their
// Commits under the epoch of the view, and releases what the node no longer holds. It is a
// subscriptions.Joiner for what the node holds. It is safe for concurrent use.
type Hosting struct {
	mu    sync.Mutex // protects the fields below
	ring  Ring
	store *hostStore
	owner *subscriptions.Owner // nil before Open

	quit     context.Context // ends when Close begins
	cancel   context.CancelFunc
	watching sync.WaitGroup // the goroutine of watch

	close  sync.Once
	closed chan struct{} // when Close is done
}

// NewHosting makes a Hosting, of which Release is ready for use. The rest is after Open.
func NewHosting() *Hosting {
	h := &Hosting{closed: make(chan struct{})}
	h.quit, h.cancel = context.WithCancel(context.Background())
	return h
}

// Open makes the node's Owner from a config, of which it fills in Owns, and wraps the
// Store. Close closes it.
func (h *Hosting) Open(r Ring, config subscriptions.Config) (*subscriptions.Owner, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring = r
	h.store = &hostStore{Store: config.Store, ring: r}
	config.Store, config.Owns = h.store, h.owns
	state := r.State()
	var err error
	if h.owner, err = subscriptions.New(config); err == nil {
		h.watching.Go(func() { h.watch(state, h.owner) })
	}
	return h.owner, err
}

// watch has the Owner take over what the node may hold since a State, until Close begins.
func (h *Hosting) watch(s *State, owner *subscriptions.Owner) {
	for {
		select {
		case <-s.Changed:
		case <-h.quit.Done():
			return
		}
		before := s
		// Between two epochs, another node may have held what this one holds in both.
		if s = h.ring.State(); s.epoch() != before.epoch() || s.held != before.held {
			owner.TakeOver()
		}
	}
}

// Store makes Commits as those of the subscriptions are made: under the epoch of the newest
// view, while the node may finish what it hosts. It is there after Open.
func (h *Hosting) Store() subscriptions.Store {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.store
}

// Close is Owner.Close.
func (h *Hosting) Close(ctx context.Context) error {
	h.mu.Lock()
	owner, store := h.owner, h.store
	h.mu.Unlock()
	h.cancel()
	h.watching.Wait()
	if owner == nil {
		return nil
	}
	err := owner.Close(ctx)
	store.running.Wait()
	h.close.Do(func() { close(h.closed) })
	return err
}

// finishes reports whether this node may finish what it hosts: its session is fresh, and it
// serves or was left out of the view. It may hold none of it any more: then the next owner
// waits until it is released.
func (s *State) finishes(now time.Time) bool {
	return fresh(s.ServesUntil, now) && (s.Closed == nil || !s.isMember())
}

// owns is subscriptions.Config.Owns.
func (h *Hosting) owns(name string) error { return holds(h.ring.State(), name) }

// holds returns an error for a subscription that this node may not host.
func holds(s *State, name string) error {
	now := time.Now()
	if s.Holds(ring.Slot(name), now) {
		return nil
	}
	var err *core.Error
	owner, ok := s.Owner(name)
	switch why := s.Serves(now); {
	case why != nil:
		err = core.Errorf(core.CodeNotServing, "node %q does not serve: %s", s.Self.Node, why.Detail)
	case !ok || owner.Session == s.Self.Session:
		err = core.Errorf(core.CodeNotServing, "node %q waits for the last owner to release the subscription", s.Self.Node)
	default:
		err = core.Errorf(core.CodeNotOwner, "node %q owns the subscription", owner.Node)
	}
	err.Epoch = s.epoch()
	return err
}

// Join joins a subscription that this node holds, or will within seconds. The errors are
// not_owner and not_serving, beside those of an Owner. The lease ends with not_owner or
// not_serving when the subscription is released.
func (h *Hosting) Join(ctx context.Context, r subscriptions.JoinRequest) (subscriptions.Subscriber, error) {
	if err := h.awaitHeld(ctx, r.Name); err != nil {
		return nil, err
	}
	s, err := h.owner.Join(ctx, r)
	if err != nil {
		return nil, err
	}
	return &hosted{Subscriber: s, ring: h.ring}, nil
}

// awaitHeld waits while this node is the owner of a name and does not hold it yet.
func (h *Hosting) awaitHeld(ctx context.Context, name string) error {
	late := time.NewTimer(holdFor)
	defer late.Stop()
	for {
		s := h.ring.State()
		err := holds(s, name)
		if owner, ok := s.Owner(name); err == nil || !ok || owner.Session != s.Self.Session || s.Serves(time.Now()) != nil {
			return err
		}
		select {
		case <-s.Changed:
		case <-late.C:
			return err
		case <-ctx.Done():
			return core.AsError(ctx.Err())
		}
	}
}

// hosted is a lease of a subscription that this node hosts.
type hosted struct {
	subscriptions.Subscriber
	ring Ring
}

// Take is Subscriber.Take. A node whose time has passed delivers nothing more, even if it has
// not noticed yet.
func (s *hosted) Take(limit core.Limit) (subscriptions.Delivery, bool, error) {
	if err := s.over(); err != nil {
		s.Leave(true)
		return subscriptions.Delivery{}, false, err
	}
	return s.Subscriber.Take(limit)
}

// Answer is Subscriber.Answer.
func (s *hosted) Answer(a subscriptions.Answer, done func(error)) {
	if err := s.over(); err != nil {
		done(leaseLost(err))
		return
	}
	s.Subscriber.Answer(a, done)
}

func (s *hosted) over() error {
	state := s.ring.State()
	if state.finishes(time.Now()) {
		return nil
	}
	return gateClosed(state)
}

func gateClosed(s *State) *core.Error {
	err := core.Errorf(core.CodeNotServing, "node %q does not serve", s.Self.Node)
	if why := s.Serves(time.Now()); why != nil {
		err = core.Errorf(core.CodeNotServing, "node %q does not serve: %s", s.Self.Node, why.Detail)
	}
	err.Epoch = s.epoch()
	return err
}

func leaseLost(why error) error {
	return core.Errorf(core.CodeLeaseLost, "the subscriber has ended: %w", why)
}

// Release lets go of the subscriptions that this node does not hold in a State, or in a
// newer one. Those that move are drained first, for drainFor at most. When it returns,
// nothing of them is stored or delivered any more, unless ctx has ended before. It is
// Config.Release of the Membership.
func (h *Hosting) Release(ctx context.Context, s *State) {
	h.mu.Lock()
	owner := h.owner
	h.mu.Unlock()
	if owner == nil {
		return
	}
	// All names are looked at as of one moment: one that is drained must be released.
	now := time.Now()
	lost := func(name string) bool { return !s.Holds(ring.Slot(name), now) }
	// A view that comes meanwhile may take more: that is drained, too, before it is released.
	for drained := uint64(0); ; drained = s.epoch() {
		s, now = h.newest(s), time.Now()
		if !s.finishes(now) || drained > 0 && s.epoch() == drained {
			break
		}
		h.drain(ctx, owner, lost)
	}
	why := core.Errorf(core.CodeNotOwner, "the subscription has another owner now")
	why.Epoch = s.epoch()
	if s.Serves(now) != nil {
		why = gateClosed(s)
	}
	if owner.Release(ctx, lost, why) != nil { // it closes, and stores what is left
		select {
		case <-h.closed:
		case <-ctx.Done():
		}
	}
}

// newest is the present State, which may be newer than s.
func (h *Hosting) newest(s *State) *State {
	select {
	case <-s.Changed:
		return h.ring.State()
	default:
		return s
	}
}

// drain drains what is lost, for as long as this node may finish it.
func (h *Hosting) drain(ctx context.Context, owner *subscriptions.Owner, lost func(name string) bool) {
	ctx, cancel := context.WithTimeout(ctx, drainFor)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer cancel()
		for s := h.ring.State(); s.finishes(time.Now()); s = h.ring.State() {
			stale := time.NewTimer(time.Until(s.ServesUntil))
			select {
			case <-s.Changed:
			case <-stale.C:
			case <-ctx.Done():
			}
			stale.Stop()
			if ctx.Err() != nil {
				return
			}
		}
	})
	owner.Drain(ctx, lost)
	cancel()
	watching.Wait()
}
