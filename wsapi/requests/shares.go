package requests

import (
	"sync"
	"sync/atomic"

	"github.com/gyre-events/gyre/access"
)

// portion is how many times what is free a Share may hold. One that takes all it can gets
// portion/(1+portion) of a limit, n of them get as much each, and some always stays free.
const portion = 2

// mayTake reports whether a Share that holds held may take n more of a limit of which used
// is taken.
func mayTake(held, n, limit, used int64) bool {
	return used+n <= limit && held+n <= portion*(limit-used)
}

// Shares are what principals hold of the limits of a node. They are safe for concurrent use.
type Shares struct {
	mu      sync.Mutex
	all     map[string]*Share   // protected by mu
	leaving map[*Share]struct{} // without a user, and with requests in flight; protected by mu
}

// NewShares returns Shares that hold nothing.
func NewShares() *Shares {
	return &Shares{all: map[string]*Share{}, leaving: map[*Share]struct{}{}}
}

// Share is what one principal holds, over all its connections. A nil Share is that of another
// node, which has counted the request: nothing of it is refused for its Share.
type Share struct {
	shares *Shares
	key    string
	users  int // protected by Shares.mu
	held   [gates]atomic.Int64
	bytes  atomic.Int64 // of Memory
}

// Of returns the Share of a principal, which its user releases. Who needs no key is one
// principal for everybody: there each connection has a Share, by the address at its other end.
func (s *Shares) Of(p *access.Principal, remote string) *Share {
	key := "key " + p.Name
	if p.Name == access.Anonymous || p == access.Nobody() {
		key = "address " + remote
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	share := s.all[key]
	if share == nil {
		share = &Share{shares: s, key: key}
		s.all[key] = share
	}
	share.users++
	delete(s.leaving, share)
	return share
}

// forget forgets Shares without a user whose last request was answered. Until then they stay, so
// that nobody gets rid of what is in flight by another connection. mu is held.
func (s *Shares) forget() {
	for share := range s.leaving {
		if share.isIdle() {
			delete(s.leaving, share)
			delete(s.all, share.key)
		}
	}
}

func (s *Share) isIdle() bool {
	for i := range s.held {
		if s.held[i].Load() > 0 {
			return false
		}
	}
	return true
}

// Release ends a use of the Share.
func (s *Share) Release() {
	if s == nil {
		return
	}
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	if s.users--; s.users == 0 {
		s.shares.leaving[s] = struct{}{}
	}
	s.shares.forget()
}

// holds adds bytes of Memory.
func (s *Share) holds(n int64) {
	if s != nil {
		s.bytes.Add(n)
	}
}
