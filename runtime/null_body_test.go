package runtime_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestNullIsNoBody sends null to every operation of openapi.json that takes JSON: it would be taken
// for an object without fields.
func TestNullIsNoBody(t *testing.T) {
	n := newMatrixNode(t)
	asked := 0
	for _, operation := range jsonOperations(t) {
		if operation == "POST /v1/keys/first" || operation == "POST /v1/plugins/{binding}/query" {
			continue // the store has keys; a query is any JSON
		}
		asked++
		for _, body := range []string{"null", " null\n"} {
			status, text := n.send(t, n.tokens["admin"], operation, body)
			var e struct{ Code core.Code }
			if err := json.Unmarshal(text, &e); err != nil || status != http.StatusBadRequest || e.Code != core.CodeInvalidRequest {
				t.Errorf("%s with %q: %d %s", operation, body, status, bytes.TrimSpace(text))
			}
		}
	}
	if asked < 20 {
		t.Errorf("%d operations take JSON", asked)
	}
}

// jsonOperations are those of openapi.json whose body may be JSON.
func jsonOperations(t *testing.T) (list []string) {
	t.Helper()
	text, err := os.ReadFile("../wsapi/docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			if _, ok := operation.RequestBody.Content["application/json"]; ok {
				list = append(list, strings.ToUpper(method)+" "+path)
			}
		}
	}
	return list
}
