package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

// forgetAgain is the pause before a node is asked again that has not confirmed.
const forgetAgain = 100 * time.Millisecond

// roster is the other nodes that serve, and the epoch of their view.
type roster struct {
	epoch   uint64
	members []ring.Member
}

// roster is the other members of the view, and the entry nodes outside of it.
func (s *State) roster() roster {
	r := roster{epoch: s.epoch()}
	members := s.Entries
	if s.View != nil {
		members = slices.Concat(s.View.Members, s.Entries)
	}
	for _, m := range members {
		if m.Session != s.Self.Session {
			r.members = append(r.members, m)
		}
	}
	return r
}

// equal reports whether two rosters name the same sessions in the same view.
func (r roster) equal(other roster) bool {
	return r.epoch == other.epoch && slices.EqualFunc(r.members, other.members, func(a, b ring.Member) bool { return a.Session == b.Session })
}

// errRosterChanged ends a try of Forget: other nodes serve by now.
var errRosterChanged = errors.New("the view changes")

// Forget has every node that serves drop what is removed from the log, or expired by a policy, when
// it is called. When it returns without an error, no node hands it out: it is in no tail, kept for
// no subscriber, sent to no other node, and no longer parked. The view changes meanwhile without
// harm: a node that it leaves out does not serve, and one that comes into it catches up first
// (Config.CatchUp). The error is that of ctx, with the nodes that have not confirmed, or
// not_supported if one of them is of a version that cannot.
func (r *Router) Forget(ctx context.Context) error {
	for {
		if err := r.forgetOnce(ctx); !errors.Is(err, errRosterChanged) {
			return err
		}
	}
}

// forgetOnce asks the nodes that serve in the newest State, until they have confirmed or others serve.
func (r *Router) forgetOnce(ctx context.Context) error {
	s := r.config.Ring.State()
	asked := s.roster()
	ctx, cancel := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	asking.Go(func() { r.untilOther(ctx, s, cancel) })
	defer asking.Wait()
	defer cancel(nil)
	// What an owner has sent before it confirmed is found in the second turn.
	for _, received := range []bool{false, true} {
		if err := r.forgetAtAll(ctx, asked, received); err != nil {
			return err
		}
	}
	if !r.config.Ring.State().roster().equal(asked) {
		return errRosterChanged
	}
	return nil
}

// untilOther cancels with errRosterChanged when the roster of a State is over.
func (r *Router) untilOther(ctx context.Context, s *State, cancel context.CancelCauseFunc) {
	for asked := s.roster(); s.roster().equal(asked); s = r.config.Ring.State() {
		select {
		case <-s.Changed:
		case <-ctx.Done():
			return
		case <-r.closing.Done():
			cancel(errShuttingDown())
			return
		}
	}
	cancel(errRosterChanged)
}

// forgetAtAll asks the nodes of a roster and this one, side by side.
func (r *Router) forgetAtAll(ctx context.Context, asked roster, received bool) error {
	errs := make([]error, len(asked.members)+1)
	var asking sync.WaitGroup
	for i, m := range asked.members {
		asking.Go(func() {
			errs[i] = r.untilConfirmed(ctx, asked.epoch, func() error { return r.forgetOver(ctx, m.Session, asked.epoch, received) })
		})
	}
	asking.Go(func() {
		errs[len(asked.members)] = r.untilConfirmed(ctx, asked.epoch, func() error { return r.forgetHere(ctx, asked.epoch, received) })
	})
	asking.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, errRosterChanged) {
		return cause
	}
	var silent []string
	var first error
	for i, err := range errs {
		if err == nil {
			continue
		}
		if first == nil || errors.Is(err, core.CodeNotSupported) {
			first = err
		}
		if i < len(asked.members) {
			silent = append(silent, asked.members[i].Node)
		}
	}
	if len(silent) > 0 {
		first = fmt.Errorf("%s: %w", strings.Join(silent, ", "), first)
	}
	return first
}

// untilConfirmed asks a node until it confirms, with a pause of forgetAgain.
func (r *Router) untilConfirmed(ctx context.Context, epoch uint64, ask func() error) error {
	for {
		err := ask()
		if err == nil || errors.Is(err, core.CodeNotSupported) {
			return err
		}
		if known := core.AsError(err).Epoch; known > epoch {
			r.config.Ring.Learn(known)
		}
		again := time.NewTimer(forgetAgain)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return err
		}
	}
}

// forgetOver asks another node once.
func (r *Router) forgetOver(ctx context.Context, session, epoch uint64, received bool) error {
	link, done, err := r.joins.link(ctx, session)
	if err != nil {
		return err
	}
	defer done()
	return link.Forget(ctx, epoch, received)
}

// Forget is Incoming.Forget.
func (in incoming) Forget(ctx context.Context, epoch uint64, received bool) error {
	return in.router.forgetHere(ctx, epoch, received)
}

// forgetHere has this node drop what is removed: what it keeps, or what it has received of subscriptions
// of other owners, each of which sends nothing of it any more. The error is stale_epoch if this node
// knows a newer view than that of epoch when it is done.
func (r *Router) forgetHere(ctx context.Context, epoch uint64, received bool) error {
	if err := r.awaitSettled(ctx, epoch); err != nil {
		return err
	}
	drop := r.forgetKept
	if received {
		drop = r.forgetReceived
	}
	if err := drop(ctx, epoch); err != nil {
		return err
	}
	return checkEpoch(r.config.Ring.State(), epoch)
}

// checkEpoch returns stale_epoch if a State knows a newer view than that of epoch.
func checkEpoch(s *State, epoch uint64) error {
	if s.epoch() > epoch {
		return core.NewStaleEpoch(epoch, s.epoch())
	}
	return nil
}

// awaitSettled waits until this node holds all that it owns in the view of an epoch: nobody else
// hosts what it will have to look through.
func (r *Router) awaitSettled(ctx context.Context, epoch uint64) error {
	for {
		s := r.config.Ring.State()
		if err := checkEpoch(s, epoch); err != nil {
			return err
		}
		if s.epoch() == epoch && s.Settled {
			return nil
		}
		r.config.Ring.Learn(epoch)
		select {
		case <-s.Changed:
		case <-ctx.Done():
			return core.AsError(context.Cause(ctx))
		case <-r.closing.Done():
			return errShuttingDown()
		}
	}
}

// forgetKept has the Store know of what was removed, and the subscriptions that this node hosts drop it.
func (r *Router) forgetKept(ctx context.Context, epoch uint64) error {
	if r.forgets.tookOver(epoch) {
		r.config.Store.MayBeGone()
	}
	if err := r.config.Store.CatchUp(ctx); err != nil {
		return err
	}
	if r.config.AwaitExpired == nil {
		return nil
	}
	if err := r.config.AwaitExpired(ctx); err != nil {
		return err
	}
	r.forgets.done(epoch)
	return nil
}

// forgets is what a Router knows of what this node has dropped.
type forgets struct {
	mu    sync.Mutex // protects the field below
	epoch uint64     // that of the last forgetKept that has succeeded
}

// tookOver reports whether this node may own names whose owner in an earlier view has parked events.
func (f *forgets) tookOver(epoch uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.epoch != epoch
}

func (f *forgets) done(epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch = max(f.epoch, epoch)
}

// forgetReceived drops what came over Links and is not handed out. What an owner has sent before it
// dropped something comes before its answer.
func (r *Router) forgetReceived(ctx context.Context, epoch uint64) error {
	r.mu.Lock()
	links := make([]Link, 0, len(r.leased))
	for link := range r.leased {
		links = append(links, link)
	}
	r.mu.Unlock()
	for _, link := range links {
		if err := link.Forget(ctx, epoch, false); err != nil && !hasEnded(link) {
			return err
		}
	}
	return r.joins.forget(ctx)
}

// hasEnded reports whether a Link has ended: nothing that it has brought is handed out.
func hasEnded(l Link) bool {
	select {
	case <-l.Broken():
		return true
	default:
		return false
	}
}
