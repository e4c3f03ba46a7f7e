package sdk

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

const (
	// addressTimeout bounds the try of one address of several.
	addressTimeout = 5 * time.Second
	// maxLearned bounds the addresses that are taken from a server.
	maxLearned = 64
)

// nodes are the addresses of a Client. Client.mu protects them.
type nodes struct {
	configured []address // as they were given to Dial
	learned    []address // from the last welcome or goaway that had any, in a random order
	at         address   // of the newest connection
}

// next returns the addresses in the order to try them after the connection to at is over.
// at is the last of those that were configured. If its node has asked the client to leave,
// those that it named come first, and at comes last of all.
func (n *nodes) next(left bool) []address {
	here := slices.Index(n.configured, n.at)
	around := slices.Concat(n.configured[here+1:], n.configured[:here+1])
	order := slices.Concat(around, n.learned)
	if left {
		order = slices.Concat(common(around, n.learned), n.learned, around)
	}
	return unique(order)
}

// now returns the addresses in the order to try them for a request beside the connection.
func (n *nodes) now() []address {
	return unique(slices.Concat([]address{n.at}, n.configured, n.learned))
}

// learn takes addresses that a node has named. They are reached as that node was, unless
// they say how.
func (n *nodes) learn(from address, names []string) {
	scheme, _, _ := strings.Cut(from.http, "://")
	var list []address
	for _, name := range names[:min(len(names), maxLearned)] {
		if !strings.Contains(name, "://") {
			name = scheme + "://" + name
		}
		// A name that cannot be understood is of no use, and no reason to end. Nor does a node
		// reached over TLS lead to one without: keys would go there.
		if at, err := parseAddress(name); err == nil && at != from && (scheme != "https" || strings.HasPrefix(at.http, scheme)) {
			list = append(list, at)
		}
	}
	if len(list) > 0 {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		n.learned = list
	}
}

// common returns the addresses of list that others has, too, in the order of others.
func common(list, others []address) []address {
	return slices.DeleteFunc(slices.Clone(others), func(a address) bool { return !slices.Contains(list, a) })
}

// unique leaves each address in its first place only.
func unique(list []address) []address {
	var once []address
	for _, a := range list {
		if !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	return once
}

// nextNodes are the addresses to try after a session.
func (c *Client) nextNodes(old *session) []address {
	left := old.isAway()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes.next(left)
}

// nodesNow are the addresses to try for a request beside the connection. A node that is lost,
// or shuts down, comes last: it may drop a request that it has not read.
func (c *Client) nodesNow() []address {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil || c.session.isAway() {
		return c.nodes.next(true)
	}
	return c.nodes.now()
}

// connect connects to the first address that answers. The error is that of the first node that
// refuses the key, if one does.
func (c *Client) connect(ctx context.Context, order []address) (*session, error) {
	var failed failures
	for i, at := range order {
		trying, cancel := share(ctx, len(order)-i, len(order))
		s, err := c.connectTo(trying, at)
		cancel()
		if err == nil || isDenied(err) {
			return s, err
		}
		failed.add(at, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed.err()
}

// share returns the context for the next of left addresses, of so many.
func share(ctx context.Context, left, of int) (context.Context, context.CancelFunc) {
	limit := addressTimeout
	if by, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(by)/time.Duration(left))
	}
	if of == 1 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

// failures collects why each address was of no use.
type failures struct {
	errs  []*core.Error
	texts []string
}

func (f *failures) add(at address, err error) {
	e := core.AsError(err)
	text := e.Detail
	if !strings.Contains(text, at.http) {
		text = fmt.Sprintf("%s: %s", at.http, text)
	}
	f.errs, f.texts = append(f.errs, e), append(f.texts, text)
}

// err returns one error for all. It is one that may pass, if any of them may, and says more
// than unavailable, if any does.
func (f *failures) err() error {
	best := f.errs[0]
	for _, e := range f.errs {
		if e.Code == core.CodeCanceled {
			return e
		}
		if rank(e) > rank(best) {
			best = e
		}
	}
	if len(f.errs) == 1 {
		return best
	}
	all := *best
	all.Detail = strings.Join(f.texts, "; ")
	return &all
}

func rank(e *core.Error) int {
	switch {
	case !e.Info().Retryable:
		return 0
	case e.Code == core.CodeUnavailable:
		return 1
	}
	return 2
}

// goAway takes a server's wish that the client leaves, with the addresses of other nodes.
func (c *Client) goAway(s *session, names []string) {
	c.mu.Lock()
	c.nodes.learn(s.at, names)
	var leases []*lease
	for _, f := range c.subs {
		if f, ok := f.(*Subscriber); ok {
			leases = append(leases, f.present())
		}
	}
	c.mu.Unlock()
	for _, l := range leases {
		if l != nil {
			l.leave()
		}
	}
	c.leaveIfDone()
}

// leaveIfDone leaves the node, if it shuts down and mayLeave allows it.
func (c *Client) leaveIfDone() {
	c.mu.Lock()
	leave := c.mayLeave()
	c.mu.Unlock()
	leave()
}

// mayLeave ends the use of a node that shuts down, as soon as that owes no answer and no
// event of it is handled. The node would keep the connection for as long as others wait for
// answers. c.mu is held; the function is to be called when it is not.
func (c *Client) mayLeave() func() {
	s := c.session
	if s == nil || c.options.Once || !s.isAway() {
		return func() {}
	}
	for _, k := range c.calls {
		if !k.refused && !k.deadline.IsZero() { // those without one wait for others
			return func() {}
		}
	}
	for _, f := range c.subs {
		if f, ok := f.(*Subscriber); ok {
			if l := f.present(); l != nil && l.handling() {
				return func() {}
			}
		}
	}
	c.session, c.down = nil, shutsDown(s)
	return s.goodbye
}

// shutsDown is why a session is over whose node has asked the client to leave.
func shutsDown(s *session) *core.Error {
	return core.Errorf(core.CodeUnavailable, "%s shuts down", s.at.http)
}
