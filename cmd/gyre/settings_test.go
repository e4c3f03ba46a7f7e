package main

import "testing"

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
