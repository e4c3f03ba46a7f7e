package main

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/registry"
)

// TestDeployPolicy: of a validator there is nothing to say but what becomes of an append that it fails
// on.
func TestDeployPolicy(t *testing.T) {
	is := plugins.Binding{OnError: plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 2, Then: plugins.ThenPark}}
	for _, c := range []struct {
		kind  plugins.Kind
		is    *plugins.Binding
		given []string
		want  *plugins.ErrorPolicy
	}{
		{plugins.KindHandler, nil, nil, nil},
		{plugins.KindHandler, &is, []string{"then"}, &plugins.ErrorPolicy{Attempts: 3, MinMs: 1, MaxMs: 2, Then: "x"}},
		{plugins.KindHandler, &is, []string{"max-attempts"}, &plugins.ErrorPolicy{Attempts: 7, MinMs: 1, MaxMs: 2, Then: plugins.ThenPark}},
		{plugins.KindValidate, nil, nil, nil},
		{plugins.KindValidate, &is, []string{"then"}, &plugins.ErrorPolicy{Then: "x"}},
	} {
		d := deployment{attempts: 7, then: "x", changed: func(flag string) bool { return slices.Contains(c.given, flag) }}
		if got, err := d.policy(c.kind, c.is); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s with %v: %+v, %v; want %+v", c.kind, c.given, got, err, c.want)
		}
	}
	d := deployment{changed: func(flag string) bool { return flag == "max-attempts" }}
	var wrong *usageError
	if _, err := d.policy(plugins.KindValidate, nil); !errors.As(err, &wrong) {
		t.Errorf("--max-attempts of a validator: %v", err)
	}
}

// TestWarningsOfADeploy: what is granted beside what the manifest asks for needs no warning.
func TestWarningsOfADeploy(t *testing.T) {
	v := plugins.Version{
		Manifest: plugins.Manifest{ABI: abi.Module, Capabilities: []string{"state"}},
		Report:   plugins.Report{Imports: []string{"gyre_1.http"}},
	}
	warnings, err := registry.Warnings(&v.Manifest, v.Report.Imports, 0)
	if err != nil || len(warnings) != 2 {
		t.Fatal(warnings, err)
	}
	v.Report.Warnings = warnings
	if got := warningsOf(&v, nil); len(got) != 2 {
		t.Errorf("without grants: %q", got)
	}
	if got := warningsOf(&v, []string{"http:example.com:443"}); len(got) != 1 {
		t.Errorf("with the grant: %q", got)
	}
}

// TestRunsAsItsOwnBinding: a plugin of a directory does not run on the state of another plugin.
func TestRunsAsItsOwnBinding(t *testing.T) {
	b := plugins.Binding{Name: "shop", Plugin: "sales"}
	if err := isOf(&b, "sales", "--binding"); err != nil {
		t.Error(err)
	}
	var wrong *usageError
	if err := isOf(&b, "other", "--binding"); !errors.As(err, &wrong) {
		t.Error(err)
	}
}
