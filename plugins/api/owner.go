package api

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// request is one that the owner of a binding is sent.
type request struct {
	method, path string // escaped
	query        url.Values
	body         []byte
	accept       string
}

// statePath is a path below a binding's.
func statePath(binding, below string) string { return "/v1/plugins/" + url.PathEscape(binding) + below }

// make makes the request for one try. by is when it has to be answered; the zero time is no bound.
func (r *request) make(ctx context.Context, by time.Time) (*http.Request, error) {
	path, err := url.PathUnescape(r.path)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidRequest, "not a path: %w", err)
	}
	made, err := http.NewRequestWithContext(ctx, r.method, (&url.URL{Path: "/", RawQuery: r.query.Encode()}).String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
	}
	made.URL.Path, made.URL.RawPath = path, r.path
	if r.accept != "" {
		made.Header.Set("Accept", r.accept)
	}
	if !by.IsZero() {
		made.Header.Set("Gyre-Timeout", strconv.FormatInt(max(1, time.Until(by).Milliseconds()), 10))
	}
	return made, nil
}

// whereOwned does a read that is to be at least of a position where the binding is owned, and any
// other here. take reads what the owner answers to there.
func (a *api) whereOwned(ctx context.Context, m *stateMessage, there *request, here func() (any, error), take func(*answer) (any, error)) (any, error) {
	if a.Owners == nil || m.AtLeast == 0 {
		return here()
	}
	for {
		result, err := a.tryOwner(ctx, m.Binding, there, here, take)
		if err == nil || !elsewhere(err) || isForwarded(ctx) {
			return result, err
		}
		if err := a.Owners.Moved(ctx, core.AsError(err)); err != nil {
			return nil, err
		}
	}
}

// tryOwner is one try of whereOwned.
func (a *api) tryOwner(ctx context.Context, binding string, there *request, here func() (any, error), take func(*answer) (any, error)) (any, error) {
	owner, err := a.Owners.Find(ctx, binding, isForwarded(ctx))
	switch {
	case err != nil:
		return nil, err
	case owner == nil:
		return here()
	}
	by, _ := ctx.Deadline()
	r, err := there.make(ctx, by)
	if err != nil {
		return nil, err
	}
	w := &answer{header: http.Header{}}
	if err := owner.Forward(ctx, w, r); err != nil {
		return nil, err
	}
	if err := w.refusal(); err != nil {
		return nil, err
	}
	return take(w)
}

// isForwarded reports whether another node has sent the request of a context here.
func isForwarded(ctx context.Context) bool { return access.Of(ctx).Via != "" }

// elsewhere reports whether an error says that nothing was done, and another node may do it.
func elsewhere(err error) bool {
	switch core.AsError(err).Code {
	case core.CodeNotOwner, core.CodeNotServing, core.CodeStaleEpoch:
		return true
	}
	return false
}

// answer is a response of another node that is kept.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is http.ResponseWriter's.
func (a *answer) Header() http.Header { return a.header }

// Write is http.ResponseWriter's.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// WriteHeader is http.ResponseWriter's.
func (a *answer) WriteHeader(status int) { a.status = status }

// refusal is the error that it is, if it is one.
func (a *answer) refusal() error {
	if a.status < http.StatusMultipleChoices {
		return nil
	}
	return problem(a.status, a.body.Bytes())
}

// problem is the error in a body of another node.
func problem(status int, body []byte) error {
	var e wire.Error
	if wire.Unmarshal(body, &e) != nil || !e.Code.Known() {
		return core.Errorf(core.CodeInternal, "another node answered with status %d", status)
	}
	return e.Err()
}

// position is that of the state that it is made from.
func (a *answer) position() uint64 {
	n, _ := strconv.ParseUint(a.header.Get(positionHeader), 10, 64) // nodes of one version write it
	return n
}
