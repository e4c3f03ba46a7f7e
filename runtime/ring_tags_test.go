//go:build unix

package runtime_test

import (
	"net/http"
	"testing"

	"github.com/gyre-events/gyre/runtime"
)

// checksTags asks every node, one of which owns the stream, to write by ETags: one of an earlier
// incarnation at the same version is refused, the newest one is taken.
func checksTags(t *testing.T, nodes ...*runtime.Node) {
	t.Helper()
	const stream, event = "/v1/streams/tagged", `{"type":"T","data":1}`
	do := func(node *runtime.Node, method, path, body, header string, want int) (tag string) {
		t.Helper()
		res, text := ask(t, method, node.URL()+path, body, "Content-Type: application/json", header)
		if res.StatusCode != want {
			t.Fatalf("%s %s with %s at %s: %d %s, want %d", method, path, header, node.Addr(), res.StatusCode, text, want)
		}
		return res.Header.Get("ETag")
	}
	earlier := do(nodes[0], http.MethodPost, stream+"/events", event, "If-None-Match: *", http.StatusCreated)
	do(nodes[1], http.MethodDelete, stream+"?hard=true", "", "If-Match: "+earlier, http.StatusNoContent)
	tag := do(nodes[2], http.MethodPost, stream+"/events", event, "If-None-Match: *", http.StatusCreated)
	for _, n := range nodes {
		do(n, http.MethodPost, stream+"/events", event, "If-Match: "+earlier, http.StatusPreconditionFailed)
		do(n, http.MethodDelete, stream, "", "If-Match: "+earlier, http.StatusPreconditionFailed)
	}
	for _, n := range nodes {
		tag = do(n, http.MethodPost, stream+"/events", event, "If-Match: "+tag, http.StatusCreated)
	}
	do(nodes[0], http.MethodDelete, stream, "", "If-Match: "+tag, http.StatusNoContent)
}
