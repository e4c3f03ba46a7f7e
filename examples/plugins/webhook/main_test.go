package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/gyre-events/gyre/sdk/plugin/plugintest"
)

const key = "a key for tests"

var placed = plugintest.Event{Stream: "order-1", Type: "OrderPlaced", Data: `{"total":10}`}

// request is what the plugin sends.
type request struct {
	Method, URL string
	Headers     map[string]string
	BodyBase64  []byte
}

// answering is a test with a receiver that answers a status.
func answering(t *testing.T, status int, sent *request) *plugintest.Test {
	test := plugintest.New(post)
	test.SetConfig(`{"url":"https://hooks.example.com/gyre"}`)
	test.SetSecret("WEBHOOK_KEY", key)
	test.SetHTTP(func(text []byte) ([]byte, error) {
		if err := json.Unmarshal(text, sent); err != nil {
			t.Error(err)
		}
		return fmt.Appendf(nil, `{"status":%d,"headers":{}}`, status), nil
	})
	return test
}

func TestPostsAreSigned(t *testing.T) {
	var sent request
	if done := answering(t, 204, &sent).Handle(placed); done.Results[0].Action != "ack" {
		t.Errorf("the result is %+v", done.Results[0])
	}
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write(sent.BodyBase64)
	if sent.Method != "POST" || sent.URL != "https://hooks.example.com/gyre" || sent.Headers["x-signature"] != hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("sent %+v", sent)
	}
	if got, want := string(sent.BodyBase64), `{"position":1,"stream":"order-1","type":"OrderPlaced","data":{"total":10}}`; got != want {
		t.Errorf("posted %s, want %s", got, want)
	}
}

func TestAnswersDecide(t *testing.T) {
	for status, want := range map[int]string{200: "ack", 302: "park", 404: "park", 429: "retry", 503: "retry"} {
		if done := answering(t, status, &request{}).Handle(placed); done.Results[0].Action != want {
			t.Errorf("%d: the result is %+v", status, done.Results[0])
		}
	}
}

func TestNothingIsPostedTwiceByARebuild(t *testing.T) {
	test := plugintest.New(post) // which makes no calls
	test.SetSecret("WEBHOOK_KEY", key)
	if done := test.Handle(placed); done.Results[0].Action != "skip" {
		t.Errorf("the result is %+v", done.Results[0])
	}
}
