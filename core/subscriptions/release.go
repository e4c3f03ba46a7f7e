package subscriptions

import (
	"context"

	"github.com/gyre-events/gyre/core"
)

// Release gives up the subscriptions that lost names, because another node owns them now.
// Their subscribers are ended with why at once. When Release returns, nothing more of them
// is stored by this Owner: not even what was acked, which the next owner delivers again.
// If ctx ends first, Release goes on by itself.
//
// Config.Owns has to refuse them before: what is joined meanwhile is not released. lost
// must not block, nor call the Owner.
func (o *Owner) Release(ctx context.Context, lost func(name string) bool, why error) error {
	var keys []nameKey
	var hosts []*host
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return errClosed()
	}
	for key, lock := range o.names {
		if !lost(key.name) {
			continue
		}
		keys = append(keys, key)
		if lock.host != nil {
			hosts = append(hosts, lock.host)
		}
	}
	released := make(chan error, 1)
	o.running.Go(func() { released <- o.release(hosts, keys, why) })
	o.mu.Unlock()
	select {
	case err := <-released:
		return err
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	}
}

// release ends hosts, and those that keys have got meanwhile, and waits until their last
// Commits are answered.
func (o *Owner) release(hosts []*host, keys []nameKey, why error) error {
	for _, h := range hosts {
		h.end(why)
	}
	for _, h := range hosts {
		h.stop(why)
	}
	for _, key := range keys {
		lock, err := o.hold(o.ctx, key)
		if err != nil {
			return err
		}
		err = o.unhost(lock, why)
		o.leave(lock)
		if err != nil {
			return err
		}
	}
	return nil
}
