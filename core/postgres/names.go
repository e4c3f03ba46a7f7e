package postgres

import "sync"

// nameCache remembers names of streams by their ids, which never change, and
// which names are there, which is a hint.
type nameCache struct {
	mu    sync.RWMutex // protects the fields below
	byID  map[uint64]incarnation
	there map[string]struct{}
}

// incarnation is one of a stream.
type incarnation struct {
	name   string
	number uint32
}

// maxNames bounds each half of the cache; a full one is emptied. Names have 512
// bytes at most and about 20 mostly.
const maxNames = 100_000

func newNameCache() *nameCache {
	return &nameCache{byID: make(map[uint64]incarnation), there: make(map[string]struct{})}
}

func (n *nameCache) incarnation(id uint64) (incarnation, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	l, ok := n.byID[id]
	return l, ok
}

func (n *nameCache) addIncarnation(id uint64, l incarnation) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.byID) >= maxNames {
		clear(n.byID)
	}
	n.byID[id] = l
}

// missing are the numbers of the streams of p that may not be there.
func (n *nameCache) missing(p *plan, needed bool) (fresh []int) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range p.streams {
		if _, ok := n.there[p.streams[i].name]; !ok && (p.streams[i].needed || !needed) {
			fresh = append(fresh, i)
		}
	}
	return fresh
}

// note remembers which streams of p are there.
func (n *nameCache) note(p *plan, there []bool, fresh []int) {
	known := len(fresh) == 0
	for i := range there {
		known = known && there[i]
	}
	if known {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.there) >= maxNames {
		clear(n.there)
	}
	for i := range p.streams {
		if there[i] {
			n.there[p.streams[i].name] = struct{}{}
		} else {
			delete(n.there, p.streams[i].name)
		}
	}
}
