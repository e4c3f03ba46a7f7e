package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/wasm/guests"
	"github.com/gyre-events/gyre/runtime"
)

// nodeWithWords is a node that can run plugins, and the arguments that deploy guests.Words to it.
func nodeWithWords(t *testing.T) (node *runtime.Node, deploy []string) {
	t.Helper()
	node, err := runtime.Start(t.Context(), runtime.Config{
		Engine: runtime.EngineMemory, Listen: "127.0.0.1:0", Plugins: runtime.PluginConfig{Compile: []string{"gyre", "plugin-compile"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close(context.Background()) })
	return node, deployWords(t, node.URL())
}

// deployWords are the arguments that deploy guests.Words.
func deployWords(t *testing.T, url string) []string {
	t.Helper()
	dir := t.TempDir()
	module, manifest := filepath.Join(dir, "words.wasm"), filepath.Join(dir, "gyre.plugin.json")
	text := `{"name":"words","version":"1","abi":"gyre_1","kind":"projection","capabilities":["state"],"subscription":{"stream":"s"}}`
	for path, content := range map[string][]byte{module: guests.Words, manifest: []byte(text)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"plugin", "deploy", module, "--manifest", manifest, "--server", url}
}

// TestDeployAsks: on a terminal, deploy shows what a plugin asks for, and deploys if the answer
// is yes.
func TestDeployAsks(t *testing.T) {
	node, deploy := nodeWithWords(t)
	for _, answer := range []struct {
		typed    string
		deployed bool
	}{{"\n", false}, {"no\n", false}, {"\x04", false}, {"Yes\n", true}} { // \x04 is the end of input
		asked, code := false, 0
		text := watchTerminal(t, func(terminal *os.File) {
			code = run(t.Context(), deploy, terminal, terminal, terminal)
		}, func(text string, keyboard io.Writer) {
			if !asked && strings.HasSuffix(text, "Grant this? [y/N] ") {
				asked = true
				if _, err := io.WriteString(keyboard, answer.typed); err != nil {
					t.Error(err)
				}
			}
		})
		if !regexp.MustCompile(`words 1 asks to:\r\n  state +keep state of its own\r\n`).MatchString(text) || !asked {
			t.Errorf("it does not say what is asked for: %q", text)
		}
		_, err := node.Plugins().Bindings.Binding(t.Context(), "words")
		said := "nothing was deployed"
		if answer.deployed {
			said = "deployed words 1 as words: "
		}
		if (code == exitOK) != answer.deployed || (err == nil) != answer.deployed || !strings.Contains(text, said) {
			t.Errorf("after %q the exit code is %d, the binding: %v, the screen shows %q", answer.typed, code, err, text)
		}
	}
}

// TestRollbackAsks: on a terminal, rollback says what it goes back to, and goes if the answer is yes.
func TestRollbackAsks(t *testing.T) {
	node, deploy := nodeWithWords(t)
	order := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", args, code, &stderr)
		}
		return stdout.String()
	}
	order(deploy...)
	if text := order("plugin", "rebuild", "words", "--server", node.URL()); !strings.HasPrefix(text, "words is generation 2 of version 1 now, ") {
		t.Errorf("a rebuild prints %q", text)
	}
	for _, answer := range []struct {
		typed      string
		generation uint64
	}{{"\n", 2}, {"y\n", 1}} {
		asked := false
		text := watchTerminal(t, func(terminal *os.File) {
			run(t.Context(), []string{"plugin", "rollback", "words", "--server", node.URL()}, terminal, terminal, terminal)
		}, func(text string, keyboard io.Writer) {
			if !asked && strings.HasSuffix(text, "Roll back? [y/N] ") {
				asked = true
				if _, err := io.WriteString(keyboard, answer.typed); err != nil {
					t.Error(err)
				}
			}
		})
		b, err := node.Plugins().Bindings.Binding(t.Context(), "words")
		if !asked || !strings.Contains(text, "This goes back to generation 1 of version 1, with its own state. ") || err != nil || b.Generation != answer.generation {
			t.Errorf("after %q generation %d is live, %v; the screen shows %q", answer.typed, b.Generation, err, text)
		}
	}
}

// TestStateShowsWhatItWaitsFor: a read that waits for a position shows how far the plugin is.
func TestStateShowsWhatItWaitsFor(t *testing.T) {
	node, deploy := nodeWithWords(t)
	var stderr bytes.Buffer
	if code := run(t.Context(), deploy, strings.NewReader(""), io.Discard, &stderr); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	all := node.Plugins().Bindings
	if _, err := all.Pause(t.Context(), "words"); err != nil {
		t.Fatal(err)
	}
	addEvent(t, node)
	code, shows := 0, false
	text := watchTerminal(t, func(terminal *os.File) {
		code = run(t.Context(), []string{"plugin", "state", "words", "--at-least", "1", "--timeout", "1m", "--server", node.URL()}, terminal, terminal, terminal)
	}, func(text string, _ io.Writer) {
		if !shows && strings.Contains(text, "words: at 0 of 1, ") {
			shows = true
			if _, err := all.Resume(t.Context(), "words"); err != nil {
				t.Error(err)
			}
		}
	})
	if code != exitOK || !shows || !strings.Contains(strings.Join(shown(text), "\n"), "LANE  KEY") {
		t.Errorf("exit code %d; the screen shows %q", code, shown(text))
	}
}

// lines is an output that tells when it has so many.
type lines struct {
	mu     sync.Mutex // protects the fields below
	text   bytes.Buffer
	change chan struct{} // holds 1
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.change <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

// await waits for so many lines, and returns all.
func (l *lines) await(t *testing.T, n int) []string {
	t.Helper()
	late := time.After(time.Minute)
	for {
		l.mu.Lock()
		got := strings.SplitAfter(l.text.String(), "\n")
		l.mu.Unlock()
		if len(got) > n {
			return got[:len(got)-1]
		}
		select {
		case <-l.change:
		case <-late:
			t.Fatalf("%d lines do not come: %q", n, got)
		}
	}
}

// TestPluginLogs prints a log, and follows it until it is interrupted. A shell completes the name
// of the binding.
func TestPluginLogs(t *testing.T) {
	node, deploy := nodeWithWords(t)
	var stderr bytes.Buffer
	if code := run(t.Context(), deploy, strings.NewReader(""), io.Discard, &stderr); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	followed := &lines{change: make(chan struct{}, 1)}
	exit := make(chan int, 1)
	go func() {
		exit <- run(ctx, []string{"plugin", "logs", "words", "-f", "--server", node.URL()}, strings.NewReader(""), followed, io.Discard)
	}()
	line := regexp.MustCompile(`^\S+ +info +\[1 lane 0 @\d+\] 1 events, 1 words\n$`)
	for n := 1; n <= 2; n++ {
		addEvent(t, node)
		got := followed.await(t, n)
		if len(got) != n || !line.MatchString(got[n-1]) {
			t.Errorf("followed: %q", got)
		}
	}
	interrupt()
	if code := <-exit; code != exitInterrupted {
		t.Errorf("an interrupt ends it with %d", code)
	}
	for args, want := range map[string]string{
		"plugin logs words":          strings.Join(followed.await(t, 2), ""),
		"plugin logs words --last 1": followed.await(t, 2)[1],
	} {
		var stdout bytes.Buffer
		list := append(strings.Fields(args), "--server", node.URL())
		if code := run(t.Context(), list, strings.NewReader(""), &stdout, &stderr); code != exitOK || stdout.String() != want {
			t.Errorf("%s: exit code %d, %q, want %q; %s", args, code, &stdout, want, &stderr)
		}
	}
	for args, want := range map[string]string{
		"plugin info w": "words\n:4\n", "plugin logs x": ":4\n", "plugin rebuild words not": ":4\n",
	} {
		completes(t, want, append([]string{"--server", node.URL()}, strings.Fields(args)...)...)
	}
}

// TestTemporaryCache: the directory of compiled plugins of a node in memory ends with the node,
// and if that is killed, when the next makes one. That of a node that runs stays.
func TestTemporaryCache(t *testing.T) {
	t.Parallel()
	dir, temporary := t.TempDir(), t.TempDir()
	begin := func(log string) *process {
		t.Helper()
		p, err := serveWith("gyre", dir, append(os.Environ(), "TMPDIR="+temporary), filepath.Join(dir, log), "--engine", "memory")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = p.end(syscall.SIGKILL) })
		var stderr bytes.Buffer
		if code := run(t.Context(), deployWords(t, p.url), strings.NewReader(""), io.Discard, &stderr); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		return p
	}
	has := func(when string, want int) {
		t.Helper()
		entries, err := os.ReadDir(temporary)
		if err != nil || len(entries) != want {
			t.Errorf("%s there are %v, want %d, %v", when, entries, want, err)
		}
	}
	runs, killed := begin("1.log"), begin("2.log")
	has("of two nodes", 2)
	if _, err := killed.end(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	has("after a kill", 2)
	next := begin("3.log")
	has("after the next start", 2)
	for _, p := range []*process{runs, next} {
		if code, err := p.end(syscall.SIGTERM); code != exitOK || err != nil {
			t.Errorf("exit code %d, %v", code, err)
		}
	}
	has("in the end", 0)
}
