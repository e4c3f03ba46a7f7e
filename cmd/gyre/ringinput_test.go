//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/internal/pgtest"
)

// ringOf starts nodes of a ring by hand, each with what is asked for.
type ringOf struct {
	t     *testing.T
	flags []string // of all nodes
}

func newRingOf(t *testing.T) *ringOf {
	server := pgtest.Shared(t)
	return &ringOf{t, []string{"--cluster", "--quorum", "1", "--postgres", server.URL, "--store", server.Store(t)}}
}

// start starts a node, which listens when it returns without an error.
func (r *ringOf) start(flags ...string) (*process, error) {
	r.t.Helper()
	dir := r.t.TempDir()
	p, err := serve(dir, os.Environ(), filepath.Join(dir, "log"), append(append([]string{"--gossip", "127.0.0.1:0"}, r.flags...), flags...)...)
	if err == nil {
		r.t.Cleanup(func() { _, _ = p.end(syscall.SIGKILL) })
	}
	return p, err
}

// refused starts a node that ends by itself, and says why.
func (r *ringOf) refused(words string, flags ...string) {
	r.t.Helper()
	p, err := r.start(flags...)
	if err == nil {
		<-p.lifetime.Done()
		r.t.Errorf("a node with %s listened, want %q", flags, words)
		return
	}
	if !strings.Contains(err.Error(), words) {
		r.t.Errorf("a node with %s says %v, want %q", flags, err, words)
	}
}

// readiness waits until the answer of /readyz has some words.
func (r *ringOf) readiness(p *process, words string) {
	r.t.Helper()
	err := until(startWithin, func() error {
		answer, err := asks.Get(p.url + "/readyz")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err == nil && !strings.Contains(string(text), words) {
			err = fmt.Errorf("%s is %q, want %q", p.url, text, words)
		}
		return err
	})
	if err != nil {
		r.t.Error(err)
	}
}

// Q06: of two processes with one node id the older one ends, and says so.
func TestNodeIDIsTaken(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := newRingOf(t)
	old, err := r.start("--node", "a")
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(old, "ok")
	newer, err := r.start("--node", "a")
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(newer, "ok")
	<-old.lifetime.Done()
	if code, err := old.end(syscall.SIGKILL); err != nil || code != exitConflict {
		t.Errorf("the older process ended with %d, %v", code, err)
	}
}

func TestRingRefusesStrangers(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := newRingOf(t)
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	one, err := r.start("--node", "a", "--cluster-key-file", file(strings.Repeat("a", 40)))
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(one, "ok")
	r.refused("cluster_mismatch", "--node", "b", "--cluster-name", "other")
	other, err := r.start("--node", "c", "--cluster-key-file", file(strings.Repeat("b", 40)))
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(other, "no_quorum")
	r.readiness(one, "ok")
}

func TestRingAddresses(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := newRingOf(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r.refused("gossip cannot listen", "--node", "a", "--gossip", taken.Addr().String())
	r.refused("address already in use", "--node", "a", "--listen", taken.Addr().String())
	// Peers at which nobody listens are no reason to wait.
	p, err := r.start("--node", "b", "--peers", "127.0.0.1:1,"+taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(p, "ok")
}

// TestRingWaitsForItsDatabase: a node of a ring waits for PostgreSQL like any other.
func TestRingWaitsForItsDatabase(t *testing.T) {
	t.Parallel() // it waits, most of the time
	server := pgtest.Private(t)
	r := &ringOf{t, []string{"--cluster", "--quorum", "1", "--postgres", server.URL, "--store", server.Store(t)}}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	r.refused("store_unavailable", "--node", "a", "--postgres-wait", "1s")
	begun := make(chan error, 1)
	go func() { begun <- server.Start() }()
	p, err := r.start("--node", "a", "--postgres-wait", "1m")
	if err != nil {
		t.Fatal(err)
	}
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	r.readiness(p, "ok")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	r.readiness(p, "not ready")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	r.readiness(p, "ok\n")
}

// TestRingProviders: a node starts although what is to find others fails, says so once for
// each, and tries what is found later.
func TestRingProviders(t *testing.T) {
	t.Parallel()
	r := newRingOf(t)
	peers := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(peers, []byte("# nobody yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one, err := r.start("--node", "a", "--peers-file", peers, "--peers-dns", "_gossip._tcp.nobody.invalid", "--peers-exec", "echo no cloud >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(one, "ok")
	r.provider(one, "peers-file", peers+": it has no address")
	r.provider(one, "peers-exec", "exit status 3: no cloud")
	r.provider(one, "peers-dns", "_gossip._tcp.nobody.invalid")
	if err := os.WriteFile(peers, []byte("127.0.0.1:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.provider(one, "peers-file", "127.0.0.1:1")
	if code, err := one.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("the node ends with %d, %v", code, err)
	}
	log, err := os.ReadFile(filepath.Join(one.cmd.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for words, times := range map[string]int{`fails.*"provider":"peers-file"`: 1, `fails.*"provider":"peers-exec"`: 1, `again".*"provider":"peers-file"`: 1} {
		if n := len(regexp.MustCompile(words).FindAll(log, -1)); n != times {
			t.Errorf("the log has %q %d times, want %d:\n%s", words, n, times, log)
		}
	}
}

// provider waits until the status of a node has some words about a provider.
func (r *ringOf) provider(p *process, name, words string) {
	r.t.Helper()
	said := ""
	for by := time.Now().Add(startWithin); time.Now().Before(by); time.Sleep(50 * time.Millisecond) { // nothing says when
		text, err := exec.Command("gyre", "cluster", "status", "--server", p.url).Output()
		if err != nil {
			r.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, after, ok := strings.Cut(line, "by "+name+": "); ok {
				said = after
			}
		}
		if strings.Contains(said, words) {
			return
		}
	}
	r.t.Errorf("%s says %q of %s, want %q", p.url, said, name, words)
}
