package sdk_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

// keys are the principals of tokens, and can end.
type keys struct {
	mu   sync.Mutex
	of   map[string]*access.Principal
	ends map[string]context.CancelCauseFunc
	asks int // with a token that is not known
}

func newKeys() *keys {
	return &keys{of: map[string]*access.Principal{}, ends: map[string]context.CancelCauseFunc{}}
}

func (k *keys) Authenticate(token string) (*access.Principal, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.of[token]; p != nil {
		return p, nil
	}
	if token != "" {
		k.asks++
	}
	return nil, core.Errorf(core.CodeUnauthenticated, "no such key")
}

func (k *keys) add(token string, p access.Principal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ends, end := context.WithCancelCause(context.Background())
	k.of[token], k.ends[token] = p.Until(ends), end
}

// revoke ends a key. unknown says whether the node forgets its token, too.
func (k *keys) revoke(token string, unknown bool) {
	k.mu.Lock()
	end := k.ends[token]
	if unknown {
		delete(k.of, token)
	}
	k.mu.Unlock()
	end(core.Errorf(core.CodeUnauthenticated, "the key was revoked"))
}

const (
	planted = "gyre_k1_planted"
	another = "gyre_k2_planted"
)

// guarded is a node with the key planted, of a reader of everything.
func guarded(t *testing.T) (url string, k *keys) {
	t.Helper()
	k = newKeys()
	k.add(planted, access.Principal{Name: "k1", Role: access.Admin})
	return serveConfig(t, wsapi.Config{Store: newStore(t), Access: k}), k
}

// denied checks an error's code, and that no token is in its text.
func denied(t *testing.T, err error, code core.Code) {
	t.Helper()
	if !errors.Is(err, code) || strings.Contains(err.Error(), "planted") {
		t.Errorf("%v, want %s", err, code)
	}
}

func TestTokenIsGiven(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			url, k := guarded(t)
			o.Token = planted
			c := dial(t, url, o)
			if _, err := c.Append(t.Context(), one("s", core.AnyVersion, "1")); err != nil {
				t.Error(err)
			}
			if _, err := c.Server(t.Context()); err != nil {
				t.Error(err)
			}
			for _, token := range []string{"", another} {
				o.Token = token
				_, err := sdk.Dial(t.Context(), url, o)
				denied(t, err, core.CodeUnauthenticated)
				// The next node would know it no better.
				_, err = sdk.Dial(t.Context(), "http://127.0.0.1:1,"+url+",http://127.0.0.1:2", o)
				denied(t, err, core.CodeUnauthenticated)
			}
			for _, token := range []string{"planted\n", "planted planted", "planted\x80", strings.Repeat("planted", 1000)} {
				o.Token = token
				_, err := sdk.Dial(t.Context(), url, o)
				denied(t, err, core.CodeInvalidConfig)
				denied(t, c.Refresh(t.Context(), token), core.CodeInvalidConfig)
			}
			k.add(another, access.Principal{Name: "b", Role: "none"}) // which may not connect
			o.Token = another
			_, err := sdk.Dial(t.Context(), url, o)
			denied(t, err, core.CodeForbidden)
		})
	}
}

// TestClientEndsWithItsKey: it comes back once, and then not again.
func TestClientEndsWithItsKey(t *testing.T) {
	url, k := guarded(t)
	var states []sdk.State
	c := dial(t, url, sdk.Options{Token: planted, OnState: func(s sdk.State) { states = append(states, s) }})
	f, err := c.Follow(t.Context(), core.FollowRequest{Stream: core.All})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k.revoke(planted, true)
	for err == nil {
		_, err = f.Next(t.Context(), core.Limit{})
	}
	denied(t, err, core.CodeUnauthenticated)
	<-c.Done()
	_, err = c.Append(t.Context(), one("s", core.AnyVersion, "1"))
	if !errors.Is(err, core.CodeUnauthenticated) && !errors.Is(err, core.CodeUnknownOutcome) {
		t.Errorf("an append without a key: %v", err)
	}
	_, err = c.Server(t.Context())
	denied(t, err, core.CodeUnauthenticated)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if k.asks != 2 { // of the connection, and of Server
		t.Errorf("the node was asked %d times", k.asks)
	}
	for _, s := range states {
		if s.Err != nil && strings.Contains(s.Err.Error(), "planted") {
			t.Errorf("a state has the token: %v", s.Err)
		}
	}
}

// TestClientComesBackWithItsKey: a node may end a connection whose token it still knows.
func TestClientComesBackWithItsKey(t *testing.T) {
	url, k := guarded(t)
	connected := make(chan sdk.State, 10)
	c := dial(t, url, sdk.Options{Token: planted, OnState: func(s sdk.State) {
		if s.Connected {
			connected <- s
		}
	}})
	<-connected
	old := k.ends[planted]
	k.add(planted, access.Principal{Name: "k1", Role: access.Admin})
	old(core.Errorf(core.CodeUnauthenticated, "the key has changed"))
	<-connected
	if _, err := c.Append(t.Context(), one("s", core.AnyVersion, "1")); err != nil {
		t.Error(err)
	}
}

func TestRefresh(t *testing.T) {
	for name, o := range modes {
		t.Run(name, func(t *testing.T) {
			url, k := guarded(t)
			lost := make(chan error, 10)
			o.Token = planted
			o.OnState = func(s sdk.State) {
				if s.Err != nil {
					lost <- s.Err
				}
			}
			c := dial(t, url, o)
			denied(t, c.Refresh(t.Context(), another), core.CodeUnauthenticated)
			k.add(another, access.Principal{Name: "k2", Role: access.Reader})
			denied(t, c.Refresh(t.Context(), another), core.CodeForbidden)
			if _, err := c.Server(t.Context()); err != nil {
				t.Errorf("with the key that it had: %v", err)
			}
			k.add(another, access.Principal{Name: "k2", Role: access.Admin})
			if err := c.Refresh(t.Context(), another); err != nil {
				t.Fatal(err)
			}
			k.revoke(planted, true)
			if _, err := c.Append(t.Context(), one("s", core.AnyVersion, "1")); err != nil {
				t.Error(err)
			}
			if _, err := c.Server(t.Context()); err != nil {
				t.Error(err)
			}
			if len(lost) > 0 {
				t.Errorf("the connection was lost: %v", <-lost)
			}
			k.revoke(another, true)
			denied(t, <-lost, core.CodeUnavailable) // 4003
			denied(t, <-lost, core.CodeUnauthenticated)
		})
	}
}

func TestTicket(t *testing.T) {
	url, _ := guarded(t)
	c := dial(t, url, sdk.Options{Token: planted})
	ticket, err := c.Ticket(t.Context(), "/v1/server")
	if err != nil || ticket.ExpiresAt.IsZero() || strings.Contains(ticket.URL, planted) {
		t.Fatal(ticket, err)
	}
	for _, want := range []int{200, 401} {
		res, err := http.Get(ticket.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s, want %d", res.Status, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	_, err = c.Ticket(t.Context(), "/v1/nothing")
	denied(t, err, core.CodeNotFound)
}

// TestAuthorize: what lets a client in may be another thing for each request.
func TestAuthorize(t *testing.T) {
	url, _ := guarded(t)
	var mu sync.Mutex
	var asked []string
	authorize := func(method, path string, h http.Header) error {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, method+" "+path)
		h.Set("Authorization", "Bearer "+planted)
		return nil
	}
	client, err := sdk.Dial(t.Context(), url, sdk.Options{Authorize: authorize})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.AppendTo(t.Context(), "s", core.AnyVersion, core.NewEvent{Type: "A", Data: []byte("1")}); err != nil {
		t.Error(err)
	}
	if _, err := client.Streams(t.Context(), core.StreamsRequest{Limit: 1}); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"GET /v1/ws", "GET /v1/streams"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	refuse := func(string, string, http.Header) error { return core.Errorf(core.CodeForbidden, "not now") }
	_, err = sdk.Dial(t.Context(), url, sdk.Options{Authorize: refuse})
	denied(t, err, core.CodeForbidden)
}
