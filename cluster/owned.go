package cluster

import (
	"container/list"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core/ring"
)

// maxOwned bounds the streams that a node lists as its own. Those that were used longest
// ago are left out.
const maxOwned = 10_000

// owned lists the streams that this node wrote as their owner. It is for people: no rule
// depends on it.
type owned struct {
	mu     sync.Mutex
	byName map[string]*list.Element
	recent list.List // of *ring.Owned, the one used last in front
}

// note records that this node has written a stream under an epoch, up to a version.
func (o *owned) note(stream string, epoch, version uint64) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.byName[stream]; e != nil {
		entry := e.Value.(*ring.Owned)
		// Answers to several Commits may come in another order.
		entry.Epoch, entry.Version, entry.Used = max(entry.Epoch, epoch), max(entry.Version, version), now
		o.recent.MoveToFront(e)
		return
	}
	if o.byName == nil {
		o.byName = map[string]*list.Element{}
	}
	if o.recent.Len() >= maxOwned {
		o.drop(o.recent.Back())
	}
	o.byName[stream] = o.recent.PushFront(&ring.Owned{
		Kind: ring.KindStream, Name: stream, Slot: ring.Slot(stream), Epoch: epoch, Version: version, Since: now, Used: now,
	})
}

// forget removes a stream whose events are removed.
func (o *owned) forget(stream string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.byName[stream]; e != nil {
		o.drop(e)
	}
}

// drop removes an entry. mu is held.
func (o *owned) drop(e *list.Element) {
	delete(o.byName, e.Value.(*ring.Owned).Name)
	o.recent.Remove(e)
}

// list returns the streams of the slots that this node owns, and forgets the others.
func (o *owned) list(owns func(slot int) bool) []ring.Owned {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]ring.Owned, 0, o.recent.Len())
	for e := o.recent.Front(); e != nil; {
		next := e.Next()
		if entry := e.Value.(*ring.Owned); owns(entry.Slot) {
			all = append(all, *entry)
		} else {
			o.drop(e)
		}
		e = next
	}
	return all
}

// Owned returns the streams in some slots that this node has written lately, as their owner.
// It forgets the others.
func (r *Router) Owned(owns func(slot int) bool) []ring.Owned { return r.owned.list(owns) }
