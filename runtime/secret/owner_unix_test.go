//go:build unix

package secret

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestExposed: a secret belongs to root or to the user, and nobody else may read it.
func TestExposed(t *testing.T) {
	for _, c := range []struct {
		name        string
		mode        fs.FileMode
		owner, user uint32
		want        string
	}{
		{"the user's", 0o600, 7, 7, ""},
		{"the user's, which a group can read", 0o640, 7, 7, "others can read k, whose mode is 0640; use: chmod 600 k"},
		{"the user's, which all can read", 0o604, 7, 7, "others can read k, whose mode is 0604; use: chmod 600 k"},
		{"root's", 0o400, 0, 7, ""},
		{"root's, for a group", 0o440, 0, 7, ""},
		{"root's, which all can read", 0o444, 0, 7, "others can read k, whose mode is 0444; use: chmod 600 k"},
		{"another's", 0o600, 8, 7, "k belongs to user 8, and to be safe it must belong to root or to user 7, who runs gyre; use: chown 7 k"},
		{"another's, for root", 0o600, 8, 0, "k belongs to user 8, and to be safe it must belong to root or to user 0, who runs gyre; use: chown 0 k"},
	} {
		got := ""
		if err := exposed("k", c.mode, c.owner, c.user); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := Read(file, 6); err != nil || string(text) != "secret" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := Read(file, 5); err == nil {
		t.Error("a file with too much is read")
	}
	if err := os.Chmod(file, 0o604); err != nil {
		t.Fatal(err)
	}
	var exposed *Exposed
	if _, err := Read(file, 6); !errors.As(err, &exposed) {
		t.Errorf("a file that others can read: %v", err)
	}
	if _, err := Read("/dev/zero", 6); err == nil {
		t.Error("a device without an end is read")
	}
}
