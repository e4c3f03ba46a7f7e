//go:build unix

package main

import (
	"bufio"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// TestCommandsBeginBelowQuorum: a tail and a subscriber that begin below quorum say why
// they wait, and go on once there is a quorum.
func TestCommandsBeginBelowQuorum(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := newRingOf(t)
	a, err := r.start("--node", "a", "--quorum", "2")
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(a, "no_quorum")
	tail := begins(t, "tail", "s", "--limit", "1", "--server", a.url)
	subscriber := begins(t, "subscribe", "all", "--until-caught-up", "--server", a.url)
	for _, c := range []*begun{tail, subscriber} {
		c.says("Waiting: the node delivers nothing for now: ")
	}
	c, err := r.start("--node", "c", "--quorum", "2")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*begun{tail, subscriber} {
		c.says("Going on.")
	}
	mustRun(t, "append", "s", "Appended", "--server", c.url)
	for _, c := range []*begun{tail, subscriber} {
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("%s: %v", c.cmd, err)
		}
	}
}

// TestCommandsAreRefusedBelowQuorum: where the node refuses calls, they end.
func TestCommandsAreRefusedBelowQuorum(t *testing.T) {
	t.Parallel() // it waits, most of the time
	r := newRingOf(t)
	a, err := r.start("--node", "a", "--quorum", "2", "--on-no-quorum", "error")
	if err != nil {
		t.Fatal(err)
	}
	r.readiness(a, "no_quorum")
	for _, args := range [][]string{{"tail"}, {"subscribe", "all"}} {
		var exit *exec.ExitError
		out, err := exec.Command("gyre", append(args, "--server", a.url)...).CombinedOutput()
		if !errors.As(err, &exit) || exit.ExitCode() != exitUnavailable || strings.Contains(string(out), "Waiting") {
			t.Errorf("gyre %v: %v: %s", args, err, out)
		}
	}
}

// begun is a command that runs.
type begun struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *bufio.Scanner // on stderr
}

func begins(t *testing.T, args ...string) *begun {
	t.Helper()
	cmd := exec.Command("gyre", args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &begun{t, cmd, bufio.NewScanner(stderr)}
}

// says checks what the command says next.
func (b *begun) says(words string) {
	b.t.Helper()
	if !b.said.Scan() || !strings.HasPrefix(b.said.Text(), words) {
		b.t.Fatalf("%s says %q, %v, want %q", b.cmd, b.said.Text(), b.said.Err(), words)
	}
}
