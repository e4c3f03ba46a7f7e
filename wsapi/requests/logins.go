package requests

import (
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxRemembered bounds the addresses whose wrong tokens are remembered. Beyond it the one is
// forgotten that was heard of least recently.
const maxRemembered = 16 << 10

// Logins authenticate tokens. An address that has sent too many wrong ones is refused before
// its next token is looked at. They are safe for concurrent use, and do not wait.
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
// Try. Tokens of other nodes are not counted: clients of the same address could shut them out.
func (l *Logins) Authenticate(from Address, token string) (*access.Principal, error) {
	if token == "" || wire.IsNodeToken(token) {
		return l.access.Authenticate(token)
	}
	return l.Try(from, func() (*access.Principal, error) { return l.access.Authenticate(token) })
}

// Try calls login with the secret of an address, and counts it if it was wrong. The error is
// login's, or too_many_requests. Then login was not called: a right secret does not help, and
// gives back nothing.
func (l *Logins) Try(from Address, login func() (*access.Principal, error)) (*access.Principal, error) {
	if limiter, known := l.failures.Get(from); known && limiter.Tokens() < 1 {
		e := core.Errorf(core.CodeTooManyRequests, "%s has sent %d wrong keys or tickets within a minute", from, limiter.Burst())
		e.Limit = int64(limiter.Burst())
		return nil, e
	}
	p, err := login()
	if errors.Is(err, core.CodeUnauthenticated) {
		l.fail(from)
	}
	return p, err
}

// fail counts a wrong token.
func (l *Logins) fail(from Address) {
	budget := from.share(l.perMin)
	fresh := rate.NewLimiter(rate.Limit(float64(budget)/time.Minute.Seconds()), budget)
	limiter, known, _ := l.failures.PeekOrAdd(from, fresh)
	if !known {
		limiter = fresh
	}
	limiter.Allow()
}
