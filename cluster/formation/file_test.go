package formation_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/cluster/formation"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers")
	p := formation.File("peers-file", path, "7946")
	if _, err := p.Find(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	for text, want := range map[string][]string{
		"10.0.0.1\n10.0.0.2:80\n":              {"10.0.0.1:7946", "10.0.0.2:80"},
		"# the nodes\na.example, b_2:1 #c:2\n": {"a.example:7946", "b_2:1"},
		"::1 [::1] [fe80::1]:80":               {"[::1]:7946", "[::1]:7946", "[fe80::1]:80"},
	} {
		write(t, path, text)
		if list, err := p.Find(t.Context()); err != nil || !slices.Equal(list, want) {
			t.Errorf("%q: %q, %v", text, list, err)
		}
	}
	for text, words := range map[string]string{
		"":                            "no address",
		"# nobody\n\n":                "no address",
		"10.0.0.1\n10.0.0.2:\n":       `line 2: "10.0.0.2:" is not HOST or HOST:PORT`,
		"10.0.0.1:0":                  "is not HOST",
		"10.0.0.1:99999":              "is not HOST",
		"a b:c":                       `"b:c" is not HOST`,
		"\x00\x01\xff":                "is not HOST",
		"http://10.0.0.1:80/":         "is not HOST",
		strings.Repeat("h", 254):      "is not HOST",
		strings.Repeat("a:1 ", 20000): "more than 65536 bytes",
	} {
		write(t, path, text)
		if list, err := p.Find(t.Context()); err == nil || list != nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%.40q: %q, %v, want %q", text, list, err, words)
		}
	}
	for _, path := range []string{t.TempDir(), os.DevNull} {
		if _, err := formation.File("peers-file", path, "7946").Find(t.Context()); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
