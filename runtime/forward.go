package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/cluster"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/wsapi"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// movedRetry is how long a node waits for news before it tries again.
	movedRetry = 100 * time.Millisecond
	// forwardGrace is what a forwarded request gets beyond its deadline: the owner itself
	// answers what is too late.
	forwardGrace = time.Second
	// maxProblem bounds an error that is looked at.
	maxProblem = 64 << 10
)

// owners forwards requests about named subscriptions (wsapi.Owners). Safe for concurrent
// use.
type owners struct {
	ring  cluster.Ring
	admit func(context.Context) error // waits for the gate
	// authorize adds the token for a request to a member to its headers.
	authorize func(who *access.Principal, to ring.Member, method, path string, h http.Header) error
	transport *http.Transport
	errorLog  *slog.Logger
}

var _ wsapi.Owners = (*owners)(nil)

// newOwners returns an owners that waits for the gate by admit, and reaches other nodes by p.
func newOwners(r cluster.Ring, admit func(context.Context) error, p *peers, logger *slog.Logger) *owners {
	return &owners{ring: r, admit: admit, authorize: p.authorize, errorLog: logger, transport: &http.Transport{
		DialContext:         p.dialAddress,
		MaxIdleConnsPerHost: 16,
		MaxConnsPerHost:     1024,
		IdleConnTimeout:     time.Minute,
	}}
}

// close ends idle connections.
func (o *owners) close() { o.transport.CloseIdleConnections() }

// Find is wsapi.Owners.Find.
func (o *owners) Find(ctx context.Context, name string, forwarded bool) (wsapi.Forwarder, error) {
	if !forwarded {
		if err := o.admit(ctx); err != nil {
			return nil, err
		}
	}
	state := o.ring.State()
	why := state.Serves(time.Now())
	owner, ok := state.Owner(name)
	switch {
	case why != nil || !ok:
		return nil, withEpoch(state, core.Errorf(core.CodeNotServing, "node %s does not serve", state.Self.Node))
	case owner.Session == state.Self.Session:
		return nil, nil
	case forwarded:
		return nil, withEpoch(state, core.Errorf(core.CodeNotOwner, "node %s owns %q", owner.Node, name))
	}
	return &forwarder{owners: o, to: owner}, nil
}

// At is wsapi.Owners.At.
func (o *owners) At(node string) (wsapi.Forwarder, error) {
	state := o.ring.State()
	for _, m := range state.View.Members {
		if m.Node == node {
			return &forwarder{owners: o, to: m}, nil
		}
	}
	return nil, core.Errorf(core.CodeNotFound, "the newest view has no node %.128q", node)
}

// withEpoch adds the newest epoch that is known.
func withEpoch(s *cluster.State, e *core.Error) *core.Error {
	if s.View != nil {
		e.Epoch = s.View.Epoch
	}
	return e
}

// Moved is wsapi.Owners.Moved.
func (o *owners) Moved(ctx context.Context, why *core.Error) error {
	state := o.ring.State()
	if why.Epoch > 0 {
		o.ring.Learn(why.Epoch)
	}
	retry := time.NewTimer(movedRetry)
	defer retry.Stop()
	select {
	case <-state.Changed:
	case <-retry.C:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return core.AsError(ctx.Err())
		}
		return core.Errorf(core.CodeNoNodeAvailable, "the owner was not reached in time; nothing was done: %s", why.Detail)
	}
	return nil
}

// forwarder sends requests to a node (wsapi.Forwarder).
type forwarder struct {
	*owners
	to ring.Member
}

// Forward is wsapi.Forwarder.Forward. The node's answer is passed on as it is, unless it says
// that it has not taken the request.
func (f *forwarder) Forward(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	sending, cancel := context.WithCancel(r.Context())
	if by, ok := ctx.Deadline(); ok {
		sending, cancel = context.WithDeadline(r.Context(), by.Add(forwardGrace))
	}
	defer cancel()
	var sent atomic.Bool
	sending = httptrace.WithClientTrace(sending, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	header := http.Header{}
	if err := f.authorize(access.Of(r.Context()), f.to, r.Method, r.URL.EscapedPath(), header); err != nil {
		return err
	}
	var failure error
	proxy := httputil.ReverseProxy{
		Transport: f.transport,
		ErrorLog:  slog.NewLogLogger(f.errorLog.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", f.to.Addr, f.to.Addr
			p.SetXForwarded()          // what a problem's type is a link to
			p.Out.Header.Del("Origin") // it was checked here
			p.Out.Header.Del("Cookie")
			p.Out.Header.Del("Sec-WebSocket-Protocol")
			maps.Copy(p.Out.Header, header) // in place of the principal's own
		},
		ModifyResponse: refusal,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failure = err },
	}
	proxy.ServeHTTP(w, r.WithContext(sending))
	var refused *core.Error
	switch {
	case failure == nil:
		return nil
	// A relay that cannot reach the node has refused nothing: the node may be gone.
	case errors.As(failure, &refused) && refused.Code != core.CodeUnavailable:
		return refused
	case !sent.Load(), r.Method == http.MethodGet:
		return core.Errorf(core.CodeNotServing, "node %s did not answer: %w", f.to.Node, failure)
	}
	return core.Errorf(core.CodeUnknownOutcome, "node %s did not answer: %w", f.to.Node, failure)
}

// refusal returns the error of a node that has not taken a request, or does not know what
// became of it.
func refusal(answer *http.Response) error {
	if answer.StatusCode != http.StatusServiceUnavailable {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxProblem))
	if err != nil {
		return err
	}
	var e wire.Error
	if wire.Unmarshal(body, &e) == nil {
		switch e.Code {
		case core.CodeNotOwner, core.CodeNotServing, core.CodeStaleEpoch, core.CodeUnknownOutcome:
			return e.Err()
		case core.CodeShuttingDown, core.CodeStarting:
			return core.Errorf(core.CodeNotServing, "the owner does not serve: %s", e.Detail)
		}
	}
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}
