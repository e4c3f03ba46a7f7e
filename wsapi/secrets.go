package wsapi

import (
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"sync"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// secrets are the secrets of a kind that a node has given to principals: tickets, or cookies of
// sessions. Only their hashes are kept, and a look-up by hash takes a time that says nothing of
// the text. They are bounded, and safe for concurrent use.
type secrets[T any] struct {
	kind          string // for messages
	ttl           time.Duration
	most, mostOwn int // of all principals, and of one
	// displace has the oldest end where there are too many. Otherwise there is no new one.
	displace bool
	ended    func(T) // called with what a secret stood for that is not good any more; may be nil

	mu   sync.Mutex
	open map[secretHash]*secret[T]
}

// secretHash is the SHA-256 of a secret's text.
type secretHash [sha256.Size]byte

// secret is one, without its text.
type secret[T any] struct {
	principal *access.Principal
	made      time.Time
	what      T
}

func hashOf(text string) secretHash { return sha256.Sum256([]byte(text)) }

// over reports whether a secret is not good any more: its time or its principal has ended.
func (s *secrets[T]) over(x *secret[T], now time.Time) bool {
	return !now.Before(x.made.Add(s.ttl)) || x.principal.Check(access.Connect, "") != nil
}

// give returns the text of a new secret of p, which stands for what. The error is overloaded.
func (s *secrets[T]) give(p *access.Principal, what T) (text string, given *secret[T], err error) {
	now := time.Now()
	text, given = rand.Text(), &secret[T]{p, now, what}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.open, func(_ secretHash, x *secret[T]) bool {
		over := s.over(x, now)
		if over {
			s.end(x)
		}
		return over
	})
	own := maps.Clone(s.open)
	maps.DeleteFunc(own, func(_ secretHash, x *secret[T]) bool { return x.principal.Name != p.Name })
	switch full := len(own) >= s.mostOwn; {
	case !full && len(s.open) < s.most:
	case s.displace && full:
		s.drop(oldest(own))
	case s.displace:
		s.drop(oldest(s.open))
	case full:
		return "", nil, core.Errorf(core.CodeOverloaded, "%s has %d %s, which is the limit", p.Name, len(own), s.kind)
	default:
		return "", nil, core.Errorf(core.CodeOverloaded, "the node has %d %s, which is the limit", len(s.open), s.kind)
	}
	if s.open == nil {
		s.open = map[secretHash]*secret[T]{}
	}
	s.open[hashOf(text)] = given
	return text, given, nil
}

func oldest[T any](among map[secretHash]*secret[T]) (oldest secretHash) {
	var made time.Time
	for hash, x := range among {
		if made.IsZero() || x.made.Before(made) {
			oldest, made = hash, x.made
		}
	}
	return oldest
}

// find returns a secret by its text; nil if there is none, or it is over.
func (s *secrets[T]) find(text string) *secret[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.good(hashOf(text))
}

// take is find of a secret that is good once.
func (s *secrets[T]) take(text string) *secret[T] {
	hash := hashOf(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.good(hash)
	s.drop(hash)
	return found
}

// good is find by a hash. mu is held.
func (s *secrets[T]) good(hash secretHash) *secret[T] {
	if x := s.open[hash]; x != nil && !s.over(x, time.Now()) {
		return x
	}
	return nil
}

// drop ends a secret, if there is one. mu is held.
func (s *secrets[T]) drop(hash secretHash) {
	if x := s.open[hash]; x != nil {
		delete(s.open, hash)
		s.end(x)
	}
}

// end says that a secret is not good any more. mu is held.
func (s *secrets[T]) end(x *secret[T]) {
	if s.ended != nil {
		s.ended(x.what)
	}
}
