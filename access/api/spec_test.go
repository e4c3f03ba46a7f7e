package api

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
)

// TestOpenAPIHasTheRoutes: the routes, their parameters, the fields of their bodies, and the
// actions that can be asked about are those of openapi.json, and so is the number of patterns.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	text, err := os.ReadFile("../../wsapi/docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Schema   struct{ Enum []string }
			}
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range New(nil).Routes {
		operation, ok := doc.Paths[r.Path][strings.ToLower(r.Method)]
		if !ok {
			t.Errorf("openapi.json lacks %s %s", r.Method, r.Path)
		}
		var query []string
		for _, p := range operation.Parameters {
			if p.In == "query" {
				query = append(query, p.Name)
			}
			var actions []string
			for _, a := range access.Actions() {
				actions = append(actions, string(a))
			}
			if p.Name == "action" && !slices.Equal(p.Schema.Enum, actions) {
				t.Errorf("openapi.json has the actions %v, the code %v", p.Schema.Enum, actions)
			}
		}
		if !slices.Equal(query, r.Query) {
			t.Errorf("%s: openapi.json has the parameters %v, the code %v", r.Path, query, r.Query)
		}
	}
	for name, typ := range map[string]reflect.Type{
		"Keys": reflect.TypeFor[keysBody](), "NewKey": reflect.TypeFor[createBody](), "MadeKey": reflect.TypeFor[createdBody](), "Principal": reflect.TypeFor[principalBody](),
	} {
		for _, patterns := range []string{"streams", "names"} {
			field, ok := doc.Components.Schemas[name].Properties[patterns].(map[string]any)
			if ok && field["maxItems"] != float64(access.MaxPatterns) {
				t.Errorf("%s: openapi.json has up to %v patterns of %s, the code %d", name, field["maxItems"], patterns, access.MaxPatterns)
			}
		}
		fields := fieldsOf(typ)
		for _, f := range fields {
			if _, ok := doc.Components.Schemas[name].Properties[f]; !ok {
				t.Errorf("%s: openapi.json lacks %s", name, f)
			}
		}
		if n := len(doc.Components.Schemas[name].Properties); n != len(fields) {
			t.Errorf("%s: openapi.json has %d fields, the code %v", name, n, fields)
		}
	}
}

func fieldsOf(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		if f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
