package api

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
)

// The descriptions of the APIs have the routes, the ops and the bodies.
func TestDescriptions(t *testing.T) {
	var open, async struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]json.RawMessage }
		}
	}
	for name, to := range map[string]any{"openapi.json": &open, "asyncapi.json": &async} {
		text, err := os.ReadFile("../../wsapi/docs/" + name)
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range New((*census.Census)(nil)).Routes {
		var query []string
		for _, p := range open.Paths[r.Path][strings.ToLower(r.Method)].Parameters {
			if p.In == "query" {
				query = append(query, p.Name)
			}
		}
		if !slices.Equal(query, r.Query) {
			t.Errorf("%s %s has %v, openapi.json has %v", r.Method, r.Path, r.Query, query)
		}
		fields := slices.Sorted(maps.Keys(async.Components.Schemas[r.Op].Properties))
		if want := slices.Sorted(slices.Values(append(slices.Clone(r.Query), "op", "id", "timeoutMs"))); !slices.Equal(fields, want) {
			t.Errorf("op %s has %v, asyncapi.json has %v", r.Op, want, fields)
		}
	}
	for name, typ := range map[string]reflect.Type{
		"Types":         reflect.TypeFor[census.TypePage](),
		"Categories":    reflect.TypeFor[census.CategoryPage](),
		"TypeCount":     reflect.TypeFor[census.Type](),
		"CategoryCount": reflect.TypeFor[census.Category](),
		"CountSums":     reflect.TypeFor[census.Sums](),
	} {
		fields := jsonFields(typ)
		slices.Sort(fields)
		if documented := slices.Sorted(maps.Keys(open.Components.Schemas[name].Properties)); !slices.Equal(fields, documented) {
			t.Errorf("%s has %v, openapi.json has %v", name, fields, documented)
		}
	}
}

// jsonFields are the names of a struct's fields, and of those that are embedded.
func jsonFields(typ reflect.Type) (names []string) {
	for f := range typ.Fields() {
		if f.Anonymous {
			names = append(names, jsonFields(f.Type)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

// Counts are for those who may read every stream.
func TestWhoMay(t *testing.T) {
	for _, test := range []struct {
		who  *access.Principal
		want core.Code
	}{
		{access.Anyone(t.Context()), ""},
		{&access.Principal{Role: access.Admin}, ""},
		{&access.Principal{Role: access.Operator, Streams: []string{"$all"}}, ""},
		{&access.Principal{Role: access.Reader, Streams: []string{"order-*", "*"}}, ""},
		{&access.Principal{Role: access.Reader, Streams: []string{"order-*", "cart-*"}}, core.CodeForbidden},
		{&access.Principal{Role: access.Reader, Streams: []string{"*-*"}}, core.CodeForbidden},
		{&access.Principal{Role: access.Operator}, core.CodeForbidden},
	} {
		err := allowed(access.With(t.Context(), test.who))
		if (err != nil) != (test.want != "") || err != nil && !errors.Is(err, test.want) {
			t.Errorf("%+v: %v, want %q", test.who, err, test.want)
		}
		r := httptest.NewRequestWithContext(access.With(t.Context(), test.who), http.MethodGet, "/v1/types", nil)
		if test.want == "" {
			continue
		}
		for _, route := range New((*census.Census)(nil)).Routes {
			if err := route.Handle(nil, r); !errors.Is(err, test.want) {
				t.Errorf("%s for %+v: %v", route.Path, test.who, err)
			}
		}
	}
}
