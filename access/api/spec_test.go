package api

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/wsapi/spectest"
)

// TestOpenAPIHasTheRoutes: the routes, their parameters, the fields of their bodies, and the
// actions that can be asked about are those of openapi.json, and so is the number of patterns.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	doc := spectest.Read(t, "../../wsapi/docs/openapi.json")
	var actions []string
	for _, a := range access.Actions() {
		actions = append(actions, string(a))
	}
	var code []string
	for _, r := range New(nil).Routes {
		code = append(code, r.Method+" "+r.Path)
		doc.Parameters(t, r.Method, r.Path, r.Query)
		for _, p := range doc.Paths[r.Path][strings.ToLower(r.Method)].Parameters {
			if p.Name == "action" && !slices.Equal(p.Schema.Enum, actions) {
				t.Errorf("openapi.json has the actions %v, the code %v", p.Schema.Enum, actions)
			}
		}
	}
	doc.Routes(t, code, func(path string) bool { return path == "/v1/principal" || strings.HasPrefix(path, "/v1/keys") })
	bodies := map[string]reflect.Type{
		"Keys": reflect.TypeFor[keysBody](), "NewKey": reflect.TypeFor[createBody](), "MadeKey": reflect.TypeFor[createdBody](), "Principal": reflect.TypeFor[principalBody](),
	}
	doc.Bodies(t, bodies)
	for name := range bodies {
		for _, patterns := range []string{"streams", "names"} {
			var field struct{ MaxItems *int }
			if text, ok := doc.Components.Schemas[name].Properties[patterns]; ok {
				if err := json.Unmarshal(text, &field); err != nil {
					t.Fatal(err)
				}
			}
			if field.MaxItems != nil && *field.MaxItems != access.MaxPatterns {
				t.Errorf("%s: openapi.json has up to %d patterns of %s, the code %d", name, *field.MaxItems, patterns, access.MaxPatterns)
			}
		}
	}
}
