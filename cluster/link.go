package cluster

import (
	"context"
	"errors"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/core/subscriptions"
)

// ErrBroken is in the error of every call that a broken Link leaves without an answer. What
// it asked for may have been done, or be done yet.
var ErrBroken = errors.New("the link is broken")

// Link is a connection to another node, for the Router. Its calls end with it.
type Link interface {
	subscriptions.Joiner
	// Submit sends a Commit with its Epoch, which is not 0, and returns; done is called
	// once with the answer, from another goroutine or before Submit returns. Commits
	// arrive in the order in which one goroutine submits them. It may wait for room, and
	// leave the sending to Flush.
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	// Flush sends what was submitted.
	Flush()
	// Head tells the other node that the log has reached a position. It is a hint and
	// may be lost.
	Head(position uint64)
	// Forget has the other node drop what is removed from the log, or expired, when it is called:
	// what it keeps or, if received, what it was sent by owners of subscriptions and has not handed
	// out. What the other node has sent before comes before the answer. The errors are stale_epoch
	// if it knows a newer view than that of epoch, and not_supported if it is of a version that
	// does not know the call.
	Forget(ctx context.Context, epoch uint64, received bool) error
	// Broken is closed when the Link has ended.
	Broken() <-chan struct{}
	// Close ends the Link and waits for its goroutines.
	Close() error
}

// Dialer makes Links.
type Dialer interface {
	// Dial connects to a member, directly or through another one. When it returns, the
	// other node has closed all links of this session of lower generations: it takes
	// nothing more of them, and what it had begun of them is answered or written.
	// ErrRefused is in the error if nothing listens at the member's address.
	Dial(ctx context.Context, to ring.Member, generation uint64) (Link, error)
}

// ErrRefused says that the system at a member's address refuses connections: no process
// listens there.
var ErrRefused = errors.New("nothing listens there")

// Incoming is this node's end of another node's Link. Its Commits are those of Link.Submit,
// its leases those of Link.Join. A caller of Submit may withdraw a Commit by the Claim of
// ctx and then answer it itself. One that has begun is answered by its outcome only.
type Incoming interface {
	subscriptions.Joiner
	Submit(ctx context.Context, c core.Commit, done func(core.Result, error))
	Head(position uint64)
	// Forget is Link.Forget.
	Forget(ctx context.Context, epoch uint64, received bool) error
	// Close withdraws what has not begun and waits for what has.
	Close()
}
