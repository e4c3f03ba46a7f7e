//go:build unix

package formation_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster/formation"
)

func TestExec(t *testing.T) {
	p := formation.Exec("peers-exec", `echo 10.0.0.1; echo "10.0.0.2:80 # two" && echo careful >&2`, "7946")
	if list, err := p.Find(t.Context()); err != nil || !slices.Equal(list, []string{"10.0.0.1:7946", "10.0.0.2:80"}) {
		t.Errorf("%q, %v", list, err)
	}
	for command, words := range map[string]string{
		"true":                                "it has no address",
		"echo '<html>'":                       `line 1: "<html>" is not HOST`,
		"echo a:1; echo no >&2; exit 3":       "exit status 3: no",
		"echo one >&2; echo two >&2; exit 1":  "exit status 1: one two",
		"no-such-program-of-gyre":             "exit status 127: ",
		"yes 10.0.0.1":                        "prints more than 65536 bytes",
		"head -c 100000 /dev/zero >&2; false": "exit status 1",
		"kill -9 $$":                          "signal: killed",
		"(":                                   "exit status 2",
	} {
		list, err := formation.Exec("peers-exec", command, "7946").Find(t.Context())
		if err == nil || list != nil || !strings.Contains(err.Error(), words) || len(err.Error()) > 1000 {
			t.Errorf("%s: %q, %v, want %q", command, list, err, words)
		}
	}
}

func TestExecTakesTooLong(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := formation.Exec("peers-exec", "sleep 1000", "7946").Find(ctx); err == nil || !strings.Contains(err.Error(), "takes longer than 10s") {
		t.Error(err)
	}
}

// TestExecKills: a command that takes too long, and one that leaves something running, are
// gone with all that they started.
func TestExecKills(t *testing.T) {
	for _, command := range []string{"sleep 1000 9>FIFO & wait", "sleep 1000 9>FIFO & echo a:1"} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := formation.Exec("peers-exec", strings.Replace(command, "FIFO", fifo, 1), "7946").Find(ctx)
			ended <- err
		}()
		held, err := os.Open(fifo) // it opens when the child does
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(command, "wait") {
			cancel()
		}
		if err := <-ended; (err == nil) == strings.Contains(command, "wait") {
			t.Errorf("%s: %v", command, err)
		}
		if n, _ := held.Read(make([]byte, 1)); n != 0 { // it ends when nobody holds the fifo
			t.Error("the child wrote")
		}
		_ = held.Close()
		cancel()
	}
}
