package sdk

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxAnswer bounds what is read of an HTTP answer.
const maxAnswer = 16 << 20

// newHTTPClient returns what makes the requests over HTTP. With once each has a connection
// of its own.
func newHTTPClient(o *Options, once bool) *http.Client {
	dialer := &net.Dialer{Timeout: addressTimeout}
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: o.TLS.Clone(),
		ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute, DisableKeepAlives: once,
	}}
}

// ServerInfo describes a node.
type ServerInfo struct {
	Version  string      `json:"version"`
	Node     string      `json:"node"`
	Log      string      `json:"log"`
	Head     uint64      `json:"head"`
	Bytes    int64       `json:"bytes"`
	ReadOnly *wire.Error `json:"readOnly"`
	// Insecure says that whoever reaches the node may do everything while the store has no key.
	Insecure bool     `json:"insecure"`
	Features []string `json:"features"`
}

// Server returns the node's description.
func (c *Client) Server(ctx context.Context) (ServerInfo, error) {
	var info ServerInfo
	return info, c.get(ctx, "/v1/server", nil, &info)
}

// Event returns the event with an id, or event_not_found.
func (c *Client) Event(ctx context.Context, id core.ID) (core.Event, error) {
	var r wire.Recorded
	if err := c.get(ctx, "/v1/events/"+id.String(), nil, &r); err != nil {
		return core.Event{}, err
	}
	return r.CoreEvent()
}

// get makes a GET request over HTTP.
func (c *Client) get(ctx context.Context, path string, query url.Values, to any) error {
	_, err := c.do(ctx, http.MethodGet, path, query, nil, to)
	return err
}

// do makes a request over HTTP. body and to are JSON, nil for none; status is one of success.
// If one node cannot be reached or has done nothing, the next address is tried. If a request
// that changes something was sent and not answered, the error is unknown_outcome.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, to any) (status int, err error) {
	return c.doAny(ctx, c.nodesNow(), method, path, query, body, to)
}

// postHere asks no other node than the one that the client is connected to, or was.
func (c *Client) postHere(ctx context.Context, path string, query url.Values) error {
	_, err := c.doAny(ctx, []address{c.here()}, http.MethodPost, path, query, nil, nil)
	return err
}

// here is the node that the client is connected to, or was.
func (c *Client) here() address {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes.at
}

// doAny is do with the addresses to try.
func (c *Client) doAny(ctx context.Context, order []address, method, path string, query url.Values, body, to any) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r := httpRequest{method: method, path: path, to: to}
	if len(query) > 0 {
		r.path += "?" + query.Encode()
	}
	if body != nil {
		r.kind = "application/json"
		if r.body, err = wire.Marshal(body); err != nil {
			return 0, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
		}
	}
	if r.changes() {
		return c.try(ctx, order, &r)
	}
	return retryWhileOverloaded(ctx, c, func() (int, error) { return c.try(ctx, order, &r) })
}

// try makes a request to one address after another, until one answers for good.
func (c *Client) try(ctx context.Context, order []address, r *httpRequest) (status int, err error) {
	var failed failures
	for _, at := range order {
		status, elsewhere, err := c.doAt(ctx, at, r)
		if err == nil {
			return status, nil
		}
		failed.add(at, err)
		if !elsewhere || ctx.Err() != nil {
			return 0, err
		}
	}
	return 0, failed.err()
}

// httpRequest is a request that any node can answer.
type httpRequest struct {
	method, path string
	body         []byte                // nil for none
	kind         string                // media type of the body
	accept       string                // media type of the answer; any if it is empty
	sent         func(int)             // is called with the bytes that were sent; may be nil
	to           any                   // what the answer is decoded into
	take         func(io.Reader) error // reads an answer that is not JSON; nil if it is
	header       http.Header           // of the answer
	// changesNothing is set of a POST that only asks something.
	changesNothing bool
}

// changes reports whether it may be made once only.
func (r *httpRequest) changes() bool { return r.method != http.MethodGet && !r.changesNothing }

// doAt makes a request to one node and takes its answer. elsewhere says that it has no effect
// there, so that another node may be asked.
func (c *Client) doAt(ctx context.Context, at address, r *httpRequest) (status int, elsewhere bool, err error) {
	answer, elsewhere, err := c.send(ctx, at, r)
	if err != nil {
		return 0, elsewhere, err
	}
	defer answer.Body.Close()
	err = takeAnswer(at, answer, r)
	return answer.StatusCode, err != nil && mayAskAnother(r, answer.StatusCode, core.AsError(err)), err
}

// send makes a request to one node. elsewhere is that of doAt. The caller closes the body of the
// answer.
func (c *Client) send(ctx context.Context, at address, r *httpRequest) (answer *http.Response, elsewhere bool, err error) {
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	request, err := http.NewRequestWithContext(traced, r.method, at.http+r.path, bytes.NewReader(r.body))
	if r.sent != nil && err == nil {
		request.Body = io.NopCloser(&counting{bytes.NewReader(r.body), len(r.body), r.sent})
	}
	if err != nil {
		return nil, false, core.Errorf(core.CodeInvalidRequest, "not a request: %w", err)
	}
	if err := c.authorize(r.method, request.URL.EscapedPath(), request.Header); err != nil {
		return nil, false, err
	}
	if ms := timeoutMs(ctx); ms > 0 {
		request.Header.Set("Gyre-Timeout", strconv.FormatInt(ms, 10))
	}
	if r.body != nil {
		request.Header.Set("Content-Type", r.kind)
	}
	if r.accept != "" {
		request.Header.Set("Accept", r.accept)
	}
	client := c.http
	if r.changes() {
		client = c.changing
	}
	answer, err = client.Do(request)
	if err != nil {
		lost := Unreachable(at.http, err)
		if ctx.Err() != nil {
			lost = core.AsError(ctx.Err())
		}
		if sent.Load() && r.changes() {
			return nil, false, core.Errorf(core.CodeUnknownOutcome, "the request was not answered: %w", lost)
		}
		return nil, true, lost
	}
	return answer, false, nil
}

// mayAskAnother reports whether another node may answer what this one refused. Of a change it
// must be sure that this one has done nothing.
func mayAskAnother(r *httpRequest, status int, e *core.Error) bool {
	switch e.Code {
	case core.CodeStarting, core.CodeShuttingDown, core.CodeNoNodeAvailable, core.CodeNotServing, core.CodeNotOwner:
		return true
	}
	return !r.changes() && status >= http.StatusInternalServerError && e.Info().Retryable
}

// takeAnswer decodes an answer.
func takeAnswer(at address, answer *http.Response, r *httpRequest) error {
	if answer.StatusCode >= http.StatusMultipleChoices {
		return refusal(at.http, answer)
	}
	r.header = answer.Header
	var body []byte
	take := r.take
	if take == nil {
		take = func(from io.Reader) (err error) {
			body, err = io.ReadAll(io.LimitReader(from, maxAnswer))
			return err
		}
	}
	if err := take(answer.Body); err != nil {
		return core.Errorf(core.CodeUnavailable, "the answer broke off: %w", err)
	}
	if r.to == nil {
		return nil
	}
	if err := wire.Unmarshal(body, r.to); err != nil {
		return core.Errorf(core.CodeProtocolError, "the answer cannot be understood: %w", err)
	}
	return nil
}
