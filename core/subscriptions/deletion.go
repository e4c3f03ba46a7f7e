package subscriptions

import (
	"errors"

	"github.com/gyre-events/gyre/core"
)

// deletion keeps a host of one stream from handing out events while the stream is deleted: those
// that its machine has read ahead, sends again or replays. They stay where they are until the
// stream is undeleted. host.mu protects it.
type deletion struct {
	deleted bool   // the stream was when Store.Deletions returned known
	known   uint64 // if sure is set
	sure    bool
	looks   bool // a look is under way
}

// isThere reports whether the host's stream, if it is one, is known not to be deleted. If that is
// not known, it has somebody look. Subscribers are woken when it may have changed. mu is held.
func (h *host) isThere() bool {
	x, store, stream := &h.deletion, h.owner.store, h.incarnation.Definition.Stream
	if stream == core.All {
		return true
	}
	now := store.Deletions()
	if x.sure && (x.known == now || !store.MayBeDeleted(stream, x.known)) {
		x.known = now
		return !x.deleted
	}
	if !x.looks && h.ended == nil {
		x.looks = true
		h.run(func() { h.repeat("looking whether the stream is deleted", h.lookAtStream) })
	}
	return false
}

// wasThere notes that events of the host's stream were read after Store.Deletions returned known. So
// a host that begins, as thousands may at once, need not look.
func (h *host) wasThere(known uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := &h.deletion; !x.sure {
		x.known, x.sure = known, true
	}
}

// lookAtStream finds out whether the stream is deleted, and wakes the subscribers.
func (h *host) lookAtStream() (more bool, err error) {
	known := h.owner.store.Deletions()
	_, err = h.owner.store.Read(h.ctx, core.ReadRequest{
		Stream: h.incarnation.Definition.Stream, Backward: true, Limit: core.Limit{Events: 1, Bytes: 1},
	})
	deleted := errors.Is(err, core.CodeStreamDeleted)
	if err != nil && !deleted && !errors.Is(err, core.CodeStreamNotFound) && !errors.Is(err, core.CodeStreamTombstoned) {
		return false, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deletion = deletion{deleted: deleted, known: known, sure: true}
	for _, s := range h.subs {
		s.wake()
	}
	return false, nil
}

// watchDeletions has the hosts of deleted streams look whether they are undeleted, until the Owner
// is closed.
func (o *Owner) watchDeletions(seen uint64) {
	for {
		var err error
		if seen, err = o.store.AwaitDeletion(o.ctx, seen); err != nil {
			return
		}
		for _, h := range o.hosts() {
			h.mu.Lock()
			if h.deletion.deleted {
				h.isThere()
			}
			h.mu.Unlock()
		}
	}
}
