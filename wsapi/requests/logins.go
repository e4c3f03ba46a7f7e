package requests

import (
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// maxRemembered bounds the addresses whose wrong tokens are remembered. Beyond it the one is
// forgotten that was heard of least recently.
const maxRemembered = 16 << 10

// Logins authenticate tokens, and count the wrong ones of each address. A right one is never
// refused: who shares an address with somebody that guesses goes on. They are safe for
// concurrent use, and wait as the access.Authenticator does.
type Logins struct {
	access   access.Authenticator
	perMin   int
	failures *lru.Cache[Address, *rate.Limiter]
}

// NewLogins returns Logins that take perMinute wrong tokens of each address.
func NewLogins(a access.Authenticator, perMinute int) *Logins {
	failures, err := lru.New[Address, *rate.Limiter](maxRemembered)
	if err != nil {
		panic(err) // its size is not positive
	}
	return &Logins{a, perMinute, failures}
}

// Authenticate returns whose token it is; "" is none, and never wrong. The error is that of
// Try.
func (l *Logins) Authenticate(from Address, token string) (*access.Principal, error) {
	if token == "" {
		return l.access.Authenticate(token)
	}
	return l.Try(from, func() (*access.Principal, error) { return l.access.Authenticate(token) })
}

// Try calls login with the secret of an address, and counts it if it was wrong. The error is
// login's, or too_many_wrong_keys in place of unauthenticated if the address has sent too many
// wrong ones. login bounds what wrong ones cost, as it is called for those, too.
func (l *Logins) Try(from Address, login func() (*access.Principal, error)) (*access.Principal, error) {
	p, err := login()
	if !errors.Is(err, core.CodeUnauthenticated) {
		return p, err
	}
	budget := from.share(l.perMin)
	block := l.fail(from, budget)
	if block == 0 {
		return nil, err
	}
	e := core.Errorf(core.CodeTooManyWrongKeys, "%s has sent %d wrong keys or tickets within a minute", from, budget)
	e.Limit, e.RetryAfter = int64(budget), block
	return nil, e
}

// fail counts a wrong token. It returns 0 if that was within the budget, else when the next one
// is.
func (l *Logins) fail(from Address, budget int) time.Duration {
	limiter, known := l.failures.Get(from) // which notes that it was heard of
	if !known {
		fresh := rate.NewLimiter(rate.Limit(float64(budget)/time.Minute.Seconds()), budget)
		if limiter, known, _ = l.failures.PeekOrAdd(from, fresh); !known {
			limiter = fresh
		}
	}
	if limiter.Allow() {
		return 0
	}
	missing := 1 - limiter.Tokens()
	return max(time.Millisecond, time.Duration(missing/float64(limiter.Limit())*float64(time.Second)))
}
