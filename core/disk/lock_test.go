package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gyre-events/gyre/core"
)

// openVariable has the test binary be a process that opens the log in a directory, and
// appends an event for each line that it reads.
const openVariable = "GYRE_TEST_OPEN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(openVariable); dir != "" {
		if err := appendLines(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func appendLines(dir string) error {
	e, err := Open(context.Background(), Config{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("open")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		c := eventAndRecord("s", "k", lines.Text())
		if o := e.Commit(context.Background(), []*core.Commit{&c}).Outcomes[0]; o.Err != nil {
			return o.Err
		}
		fmt.Println("appended")
	}
	return e.Close()
}

// process is another process that has a log open.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	in       io.WriteCloser
	reported *bufio.Scanner
}

func startProcess(t testing.TB, dir string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), openVariable+"="+dir)
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.in, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.reported = bufio.NewScanner(out)
	return p
}

// says waits for the next line that the process prints.
func (p *process) says() string {
	p.reported.Scan()
	return p.reported.Text()
}

func (p *process) append() {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "v\n"); err != nil {
		p.t.Fatal(err)
	}
	if said := p.says(); said != "appended" {
		p.t.Fatal(said)
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// picture is everything in a directory: names and contents.
func picture(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(name, ".tmp") || name == filepath.Join(dir, "log", segmentName(2)) {
			return err // the next segment is being made
		}
		content, err := os.ReadFile(name)
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestOneProcess: whatever is done to the files while a process has the log, no other
// gets it, and none writes anything.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	owner := startProcess(t, dir)
	if said := owner.says(); said != "open" {
		t.Fatal(said)
	}
	owner.append()
	refused := func(what, dir string, reported string) {
		t.Helper()
		before := picture(t, dir)
		_, err := Open(t.Context(), Config{Dir: dir})
		if !errors.Is(err, core.CodeStoreLocked) || !strings.Contains(err.Error(), reported) {
			t.Errorf("%s: %v, want store_locked by %s", what, err, reported)
		}
		if _, err := Verify(t.Context(), Config{Dir: dir}, VerifyOptions{Rebuild: true}); !errors.Is(err, core.CodeStoreLocked) {
			t.Errorf("%s: verify: %v", what, err)
		}
		third := startProcess(t, dir)
		if said := third.says(); !strings.HasPrefix(said, "store_locked") {
			t.Errorf("%s: another process says %q", what, said)
		}
		third.kill()
		after := picture(t, dir)
		if len(after) != len(before) {
			t.Errorf("%s: %d files, %d before", what, len(after), len(before))
		}
		for name, content := range after {
			if content != before[name] {
				t.Errorf("%s: %s was written", what, name)
			}
		}
	}
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	pid := fmt.Sprint(owner.cmd.Process.Pid)
	refused("as it is", dir, "process "+pid)
	linked := filepath.Join(base, "linked")
	must(os.Symlink(dir, linked))
	refused("through a link", linked, "process "+pid)
	must(os.Remove(filepath.Join(dir, lockName)))
	refused("without the lock", dir, "another process")
	other := filepath.Join(base, "other")
	must(os.Mkdir(other, 0o700), os.Symlink(filepath.Join(dir, "log"), filepath.Join(other, "log")))
	refused("a link to the log", other, "another process")
	hard := filepath.Join(base, "hard")
	must(os.MkdirAll(filepath.Join(hard, "log"), 0o700),
		os.Link(filepath.Join(dir, "log", segmentName(1)), filepath.Join(hard, "log", segmentName(1))))
	refused("hard links to the segments", hard, "another process")
	must(os.RemoveAll(hard))
	moved := filepath.Join(base, "moved")
	must(os.Rename(dir, moved))
	refused("moved", moved, "another process")
	must(os.Rename(moved, dir))

	owner.append()
	owner.kill()
	e := open(t, Config{Dir: dir})
	defer e.Close()
	if events := readAll(t, e, "s"); len(events) != 2 {
		t.Errorf("%d events after the process was killed, want 2", len(events))
	}
}

// TestLockIsNoLink: a lock that is another file by a link is refused, and that file left
// alone.
func TestLockIsNoLink(t *testing.T) {
	for what, link := range map[string]func(from, to string) error{"symbolic": os.Symlink, "hard": os.Link} {
		dir := t.TempDir()
		precious := filepath.Join(dir, "precious")
		if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := link(precious, filepath.Join(dir, lockName)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Dir: dir}); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("a %s link: %v", what, err)
		}
		if content, err := os.ReadFile(precious); err != nil || !bytes.Equal(content, []byte("precious")) {
			t.Errorf("a %s link: the file is %q, %v", what, content, err)
		}
	}
}

// TestLockEndsWithClose has another descriptor of the file, as a child has between fork and exec.
func TestLockEndsWithClose(t *testing.T) {
	for _, note := range []bool{true, false} {
		name := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		first, err := osFS{}.Lock(name, note)
		if err != nil {
			t.Fatal(err)
		}
		child, err := unix.Dup(int(first.(lock).Fd()))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(child) }()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second, err := osFS{}.Lock(name, note)
		if err != nil {
			t.Fatalf("note %t: %v", note, err)
		}
		_ = second.Close()
	}
}
