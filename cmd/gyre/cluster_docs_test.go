//go:build unix

package main

import (
	"bufio"
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

// TestClusterDocs runs the session of examples/cluster, which starts a ring, and then that of
// docs/cluster.md on the ring, and compares what they print. Commands that change nothing are run
// until they print it: a ring takes its time.
func TestClusterDocs(t *testing.T) {
	t.Parallel() // it waits, most of the time
	server := pgtest.Shared(t)
	dir := t.TempDir()
	addresses := documented(freeAddresses(t, 6))
	configureNodes(t, dir, addresses.use, server.URL)
	s := startShell(t, dir, "export GYRE_STORE="+server.Store(t))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(logsOf(dir))
		}
	})
	ran := 0
	for _, document := range []string{"../../examples/cluster/README.md", "../../docs/cluster.md"} {
		for _, step := range session(t, document) {
			ran++
			s.follow(step, addresses)
		}
	}
	if ran < 20 {
		t.Errorf("the sessions have %d commands", ran)
	}
}

// configureNodes copies the files of examples/cluster, with other addresses.
func configureNodes(t *testing.T, dir string, addresses *strings.Replacer, database string) {
	t.Helper()
	const folder = "examples/cluster"
	if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
		t.Fatal(err)
	}
	inFile := regexp.MustCompile(`(?m)^postgres: \S+`)
	for i := range 3 {
		name := fmt.Sprintf("%s/node%d.yaml", folder, i+1)
		text, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Fatal(err)
		}
		text = inFile.ReplaceAll([]byte(addresses.Replace(string(text))), []byte("postgres: "+database))
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func freeAddresses(t *testing.T, n int) (list []string) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

// replacers turn the ports that documents have into those of the test, and back.
type replacers struct{ use, show *strings.Replacer }

func documented(addresses []string) replacers {
	var use, show []string
	for i, address := range addresses {
		port := fmt.Sprint(":", 4973+i)
		if i >= 3 {
			port = fmt.Sprint(":", 7946+i-3)
		}
		_, actual, _ := net.SplitHostPort(address)
		use, show = append(use, port, ":"+actual), append(show, ":"+actual, port)
	}
	return replacers{strings.NewReplacer(append(use, "bin/gyre", "gyre")...), strings.NewReplacer(show...)}
}

// shell is a shell that takes one command after another, as a person's does.
type shell struct {
	t     *testing.T
	stdin io.Writer
	lines chan string // of stdout and stderr
}

const endOfStep = "--- end of step"

func startShell(t *testing.T, dir, first string) *shell {
	cmd := exec.Command("sh")
	cmd.Dir, cmd.Env = dir, os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, stdin: stdin, lines: make(chan string, 1000)}
	go func() { // it ends when the shell and what it started have ended
		defer close(s.lines)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			s.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // and what it started
		for range s.lines {
		}
		_ = cmd.Wait()
	})
	s.run(first)
	return s
}

// stepWithin is more than a ring takes for anything.
const stepWithin = 30 * time.Second

// run runs a command and returns what it prints.
func (s *shell) run(command string) string {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, command+"\necho; echo '"+endOfStep+"'\n"); err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	late := time.After(stepWithin)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok || line == endOfStep {
				return b.String()
			}
			b.WriteString(line + "\n")
		case <-late:
			s.t.Fatalf("$ %s\ndoes not end; so far\n%s", command, b.String())
		}
	}
}

// changes matches commands that are not run again: running them twice is another session.
var changes = regexp.MustCompile(`append|auth (init|key)|kill|drain|&$`)

// follow runs a step of a document. A step that shows an error has changed nothing, and may
// say at first that the client's time was over before it had an answer.
func (s *shell) follow(step step, addresses replacers) {
	s.t.Helper()
	command := addresses.use.Replace(step.command)
	again := !changes.MatchString(command) || strings.HasPrefix(step.output, "Error: ")
	begin := time.Now()
	for {
		got := addresses.show.Replace(s.run(command))
		if matches(step.output, got) {
			return
		}
		if !again || time.Since(begin) > stepWithin {
			s.t.Fatalf("$ %s\nprints\n%s\nthe document says\n%s", command, got, step.output)
		}
		time.Sleep(50 * time.Millisecond) // nothing says when the ring is as far
	}
}

// logsOf are the ends of the logs in a folder.
func logsOf(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	var b strings.Builder
	for _, file := range files {
		text, _ := os.ReadFile(file)
		lines := strings.Split(string(text), "\n")
		fmt.Fprintf(&b, "%s:\n%s\n", filepath.Base(file), strings.Join(lines[max(0, len(lines)-15):], "\n"))
	}
	return b.String()
}
