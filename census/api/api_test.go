package api

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/census"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/spectest"
)

// The descriptions of the APIs have the routes, the ops and the bodies.
func TestDescriptions(t *testing.T) {
	open, async := spectest.Read(t, "../../wsapi/docs/openapi.json"), spectest.Read(t, "../../wsapi/docs/asyncapi.json")
	for _, r := range New((*census.Census)(nil)).Routes {
		open.Parameters(t, r.Method, r.Path, r.Query)
		spectest.Same(t, append(slices.Clone(r.Query), "op", "id", "timeoutMs"), slices.Collect(maps.Keys(async.Components.Schemas[r.Op].Properties)))
	}
	open.Bodies(t, map[string]reflect.Type{
		"Types":         reflect.TypeFor[census.TypePage](),
		"Categories":    reflect.TypeFor[census.CategoryPage](),
		"TypeCount":     reflect.TypeFor[census.Type](),
		"CategoryCount": reflect.TypeFor[census.Category](),
		"CountSums":     reflect.TypeFor[census.Sums](),
	})
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
