// Command webhook is a plugin for Gyre. It posts each event of an order to the URL of its config, in
// the order of the log. The header X-Signature has the HMAC of the body with the secret WEBHOOK_KEY.
// The node adds an Idempotency-Key, by which a receiver knows a call that is made again.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

func init() { plugin.Handle(post) }

func main() {} // it is never called

func post(c *plugin.Context, e *plugin.Event) error {
	key, err := c.Secret("WEBHOOK_KEY")
	if err == nil {
		var status int64
		if status, err = call(c, key, body(e)); err == nil {
			return judge(status)
		}
	}
	if errors.Is(err, plugin.ErrUnsupported) { // in a dry run, or in a rebuild of what was posted
		c.Log(plugin.Info, "not posted: "+e.Type)
		return plugin.Skip
	}
	return fmt.Errorf("not posted: %w", err)
}

// body is what is posted of an event.
func body(e *plugin.Event) []byte {
	return json.NewObject().Int("position", int64(e.Position)).Text("stream", e.Stream).Text("type", e.Type).Raw("data", e.Data).Bytes()
}

// call posts a body, and returns the status of the response.
func call(c *plugin.Context, key string, body []byte) (status int64, err error) {
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write(body)
	headers := json.NewObject().Text("content-type", "application/json").Text("x-signature", hex.EncodeToString(sum.Sum(nil)))
	response, err := c.HTTP(json.NewObject().Text("method", "POST").Text("url", c.Config("url").Text()).
		Raw("headers", headers.Bytes()).Text("bodyBase64", base64.StdEncoding.EncodeToString(body)).Bytes())
	return json.Trusted(response).Get("status").Int(), err
}

// judge is what becomes of an event whose post was answered.
func judge(status int64) error {
	const (
		tooManyRequests = 429
		serverError     = 500
	)
	switch {
	case status < 300:
		return nil
	case status == tooManyRequests || status >= serverError:
		return fmt.Errorf("the receiver answers %d", status) // it is tried again
	}
	return plugin.Park(fmt.Sprintf("the receiver answers %d", status))
}
