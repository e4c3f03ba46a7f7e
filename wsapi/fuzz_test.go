package wsapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/wsapi"
)

// FuzzHTTPAppend sends any body in each form that an append takes: it is
// written or refused, never half of it and never with an internal error.
func FuzzHTTPAppend(f *testing.F) {
	forms := []string{"application/json", "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json"}
	for _, body := range []string{
		`{"type":"A","data":{"n":1}}`,
		`[{"id":"0193b6b0-6f3e-7cc1-9d2b-5c8f0a2e4d11","type":"A","time":"2026-11-23T10:00:00Z","data":1.50,"metadata":{"correlation_id":"c"}}]`,
		"{\"type\":\"A\",\"data\":null}\n{\"type\":\"B\",\"dataBase64\":\"AAE=\",\"contentType\":\"x/y\"}\n",
		`{"specversion":"1.0","id":"1","source":"/x","type":"T","datacontenttype":"text/plain","data":"x"}`,
		`[{"specversion":"1.0","id":"1","source":"/x","type":"T","data_base64":"AAE="}]`,
		`{"type":"","data":}`, "[]", "", "\x00", `{"type":"A","type":"B"}`,
	} {
		for form := range forms {
			f.Add(body, form)
		}
	}
	shared := newNode(f, wsapi.Config{})
	f.Fuzz(func(t *testing.T, body string, form int) {
		n := *shared
		n.t = t
		before := n.store.State().Head
		r := n.do("POST", "/v1/streams/s/events", body, "Content-Type: "+forms[uint(form)%uint(len(forms))])
		written := n.store.State().Head - before
		switch r.StatusCode {
		case http.StatusCreated:
			if written == 0 {
				t.Errorf("%q was answered 201 and not written", body)
			}
		case http.StatusOK, http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge:
			if written != 0 {
				t.Errorf("%q was answered %d and wrote %d events", body, r.StatusCode, written)
			}
			if r.StatusCode != http.StatusOK && !strings.Contains(string(r.body), `"code"`) {
				t.Errorf("%q was refused with %s", body, r.body)
			}
		default:
			t.Errorf("%q was answered %d: %s", body, r.StatusCode, r.body)
		}
	})
}
