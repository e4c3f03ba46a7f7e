package requests

import (
	"net/netip"
	"sync"
)

const (
	// loopbackFactor is how much more a loopback address may have: the proxies of this
	// machine call from there, for everybody.
	loopbackFactor = 32
	// siteBits are the bits of an IPv6 address that a site is given. It chooses the others,
	// so that an address of its own for each try costs it nothing.
	siteBits = 64
)

// Address is who calls, as far as the network says: an IPv4 address, or the first 64 bits of
// an IPv6 address. Headers such as X-Forwarded-For are not looked at, since everybody can
// send them.
type Address struct{ netip.Addr }

// AddressOf returns the Address in host:port. It is the zero Address if there is none.
func AddressOf(hostPort string) Address {
	parsed, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return Address{}
	}
	addr := parsed.Addr().Unmap().WithZone("")
	if addr.Is6() && !addr.IsLoopback() {
		site, _ := addr.Prefix(siteBits) // 64 bits are in the range of IPv6
		addr = site.Addr()
	}
	return Address{addr}
}

// share is what the address may have where others may have limit.
func (a Address) share(limit int) int {
	if a.IsLoopback() {
		return limit * loopbackFactor
	}
	return limit
}

// Places bound how many of something each address has at a time. They are safe for
// concurrent use.
type Places struct {
	limit, spare int

	mu    sync.Mutex
	taken map[Address]int
}

// NewPlaces returns Places for limit of each address, and for spare more that are only told
// that there are too many.
func NewPlaces(limit, spare int) *Places {
	return &Places{limit: limit, spare: spare, taken: map[Address]int{}}
}

// Limit is how many an address may have.
func (p *Places) Limit(a Address) int { return a.share(p.limit) }

// Take takes a place. It reports whether there was one, and whether it is a spare one.
func (p *Places) Take(a Address) (spare, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, limit := p.taken[a], p.Limit(a)
	if n >= limit+p.spare {
		return false, false
	}
	p.taken[a] = n + 1
	return n >= limit, true
}

// Give gives a place back.
func (p *Places) Give(a Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[a]--; p.taken[a] == 0 {
		delete(p.taken, a)
	}
}
