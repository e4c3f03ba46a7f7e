package main

import (
	"testing"

	"github.com/spf13/cobra"
)

// No secret of a setting is shown.
func TestShownSettings(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"postgres", "", ""},
		{"postgres", "postgres://gyre:s3cret@db.internal/shop?sslpassword=s3cret", "postgres://•••@db.internal:5432/shop"},
		{"postgres", "postgres://gyre@a.internal:1,b.internal:2/shop", "postgres://•••@a.internal:1,b.internal:2/shop"},
		{"postgres", "postgres://db.internal/shop?user=gyre&password=s3cret", "postgres://db.internal:5432/shop"},
		{"postgres", "postgres://gyre:s3c@ret@db.internal/shop", "•••"},
		{"postgres", "host=db password=s3cret", "•••"},
		{"peers-exec", "/usr/bin/find-nodes --token s3cret", "/usr/bin/find-nodes •••"},
		{"peers-exec", "find-nodes", "find-nodes"},
		{"data", "/var/lib/gyre", "/var/lib/gyre"},
	} {
		if got := shownSetting(test.name, test.value); got != test.want {
			t.Errorf("%s %q is shown as %q, want %q", test.name, test.value, got, test.want)
		}
	}
}

// Commands that take the environment alone, without a file, note where a setting comes from, too.
func TestSettingsOfTheEnvironment(t *testing.T) {
	a := &app{getenv: func(name string) string { return map[string]string{"GYRE_STORE": "shop"}[name] }}
	var f databaseFlags
	cmd := &cobra.Command{}
	f.register(cmd)
	if err := a.fromEnvironment(cmd); err != nil || f.config.Store != "shop" || a.origins["store"].from != "GYRE_STORE" {
		t.Errorf("%v, %+v, %v", err, f.config, a.origins)
	}
}
