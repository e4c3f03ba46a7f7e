package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
)

// Keys manages the keys of the store. All but Init and Principal need an admin's key.
type Keys struct{ client *Client }

// Keys manages the keys of the store.
func (c *Client) Keys() Keys { return Keys{c} }

// keyWithToken is the answer that has the token of a key, once.
type keyWithToken struct {
	keys.Key
	Token string `json:"token"`
}

// Create makes a key with the role, the patterns, the note and the expiry of want. token is what
// its user sends; nobody can see it again. The errors are forbidden and invalid_key.
func (k Keys) Create(ctx context.Context, want keys.Key) (made keys.Key, token string, err error) {
	body := map[string]any{"role": want.Role, "streams": want.Streams, "note": want.Note}
	if want.Names != nil { // empty is none
		body["names"] = want.Names
	}
	if !want.Expires.IsZero() {
		body["expires"] = want.Expires
	}
	return k.post(ctx, "/v1/keys", body)
}

// Init makes the first key, an admin's, from the node's own machine. The error is keys_exist if
// there is one.
func (k Keys) Init(ctx context.Context, note string) (made keys.Key, token string, err error) {
	return k.post(ctx, "/v1/keys/first", map[string]string{"note": note})
}

func (k Keys) post(ctx context.Context, path string, body any) (keys.Key, string, error) {
	var answer keyWithToken
	_, err := k.client.do(ctx, http.MethodPost, path, nil, body, &answer)
	return answer.Key, answer.Token, err
}

// List returns all keys, expired ones too, in the order in which they were made.
func (k Keys) List(ctx context.Context) ([]keys.Key, error) {
	var body struct {
		Keys []keys.Key `json:"keys"`
	}
	err := k.client.get(ctx, "/v1/keys", nil, &body)
	return body.Keys, err
}

// Revoke ends a key at once, with everything that is open for it. The errors are key_not_found
// and last_admin_key.
func (k Keys) Revoke(ctx context.Context, id string) error {
	_, err := k.client.do(ctx, http.MethodDelete, "/v1/keys/"+url.PathEscape(id), nil, nil, nil)
	return err
}

// Principal is who a Client is to the node.
type Principal struct {
	Name    string      `json:"name"` // the id of its key, or anyone
	Role    access.Role `json:"role"`
	Streams []string    `json:"streams"` // patterns
	Names   []string    `json:"names"`   // patterns
	Expires time.Time   `json:"expires"`
	// Actions are what the role may do, with the streams and names that are granted.
	Actions []access.Action `json:"actions"`

	// Allowed and Why answer a Question.
	Allowed *bool  `json:"allowed"`
	Why     string `json:"why"`
}

// Question is what a Client asks about itself (access.Principal.Answers).
type Question struct {
	Action       access.Action // "": nothing is asked
	Target       string        // the stream or the name that the action is about; "": any
	Subscription string        // the name of one to be consumed
}

// Principal returns who the Client is to the node, and whether it may do what q asks.
func (k Keys) Principal(ctx context.Context, q Question) (p Principal, err error) {
	query := url.Values{}
	if q.Action != "" {
		query = queryOf("action", string(q.Action), "target", q.Target, "subscription", q.Subscription)
	}
	err = k.client.get(ctx, "/v1/principal", query, &p)
	return p, err
}
