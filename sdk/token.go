package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxTokenBytes bounds a token: a node takes no longer hello.
const maxTokenBytes = 4096

// checkToken returns an error that does not have the token, if no node can take it.
func checkToken(token string) error {
	if len(token) > maxTokenBytes {
		return core.Errorf(core.CodeInvalidConfig, "the token has %d bytes, and may have %d", len(token), maxTokenBytes)
	}
	for _, c := range []byte(token) {
		if c <= ' ' || c >= 0x7f {
			return core.Errorf(core.CodeInvalidConfig, "the token has a character that none has, such as a space or the end of a line")
		}
	}
	return nil
}

// currentToken returns the token for the next connection or request.
func (c *Client) currentToken() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.options.Token
}

// authorize adds the token to the headers of a request.
func (c *Client) authorize(method, path string, h http.Header) error {
	if c.options.Authorize != nil {
		return c.options.Authorize(method, path, h)
	}
	if token := c.currentToken(); token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// upgradeHeader has the headers of the request for the WebSocket. The token comes in hello.
func (c *Client) upgradeHeader(at address) (http.Header, error) {
	h := c.options.Peer.header()
	if c.options.Authorize == nil {
		return h, nil
	}
	u, err := url.Parse(at.ws)
	if err != nil {
		return nil, err
	}
	h = http.Header{}
	return h, c.options.Authorize(http.MethodGet, u.EscapedPath(), h)
}

// auth is the token in hello.
func auth(token string) *wire.Auth {
	if token == "" {
		return nil
	}
	return &wire.Auth{Token: token}
}

// isDenied reports whether a node refuses the key, as every other node of the ring would.
func isDenied(err error) bool {
	switch core.AsError(err).Code {
	case core.CodeUnauthenticated, core.CodeForbidden:
		return true
	}
	return false
}

// Refresh goes on with another token, on the present connection and in whatever the client
// does later. Its key must have the role and the patterns of the one before. If the node
// refuses it (unauthenticated, forbidden), the client keeps the one that it had. Without a
// connection it is used for the next one. Call it before the key in use ends: that ends the
// connection, and the next one is made with the newest token.
func (c *Client) Refresh(ctx context.Context, token string) error {
	if err := checkToken(token); err != nil {
		return err
	}
	c.mu.Lock()
	before := c.options.Token
	c.options.Token = token
	c.mu.Unlock()
	m := &wire.Refresh{ID: c.lastID.Add(1) + 1, Token: token}
	err := c.wait(ctx, &call{id: m.ID, message: wire.Encode(nil, m)}).err
	if err != nil && isDenied(err) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.options.Token == token {
			c.options.Token = before
		}
	}
	return err
}

// Ticket lets one request be made without a key.
type Ticket struct {
	// URL is that of the request, with the ticket. A query may follow: "&limit=1".
	URL       string
	ExpiresAt time.Time
}

// Ticket returns a ticket for a GET of a path, such as /v1/events. It is good once, within 30
// seconds, at the node that the client is connected to, and lets the request do what the
// client may. It is for what can send no header, such as a browser's EventSource.
func (c *Client) Ticket(ctx context.Context, path string) (Ticket, error) {
	at := c.here()
	var made struct {
		Ticket    string    `json:"ticket"`
		ExpiresAt wire.Time `json:"expiresAt"`
	}
	body := map[string]string{"path": path}
	if _, err := c.doAny(ctx, []address{at}, http.MethodPost, "/v1/tickets", nil, body, &made); err != nil {
		return Ticket{}, err
	}
	return Ticket{at.http + path + "?ticket=" + made.Ticket, time.Time(made.ExpiresAt)}, nil
}
