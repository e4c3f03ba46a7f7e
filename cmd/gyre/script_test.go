package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/wsapi"
)

// raceOptions are for the processes of the tests. With the race detector each would
// wait for a second before it ends, for reports that come late.
const raceOptions = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if err := os.Setenv("GORACE", raceOptions); err != nil {
		panic(err)
	}
	testscript.Main(withPlain{m}, map[string]func(){"gyre": main, "subscriber": subscriberMain})
}

// TestScripts runs testdata/script. Beside testscript's own commands there are
//
//	node [ARG...]        starts gyre serve on a free port, in its own process, and sets
//	                     GYRE_SERVER and ADDRESS; its log is node.log
//	end SIGNAL [CODE]    ends it: INT, TERM or KILL, and its exit code
//	exits CODE ARG...    runs gyre, which is to exit with CODE
//	interrupt CODE ARG…  runs gyre, sends SIGINT after its first line of output
//	silence              sets GYRE_SERVER to an address that accepts and never answers
//	damage FILE OFFSET   changes a byte of the first file that matches
//	denial               sets GYRE_SERVER to one that answers 403 to everything
//	counted              waits until the node has counted its log by type
//	stall [hangup]       sets GYRE_SERVER to a node that takes appends and never answers,
//	                     or is gone for good from the first one on
//	guarded KEY          sets GYRE_SERVER to a node that has this key alone
//	handled NAME         waits until a plugin has handled all events
//	completes NAME ARG…  waits until a shell that completes the last argument is offered a name
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, scripts("testdata/script", "gyre"))
}

// scripts are those of a directory, with the commands above, which run the program.
func scripts(dir, program string) testscript.Params {
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("GYRE_UPDATE") != "",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"node":      startNode,
			"end":       endNode,
			"exits":     exits,
			"interrupt": interrupt,
			"silence":   silence,
			"damage":    damage,
			"denial":    denial,
			"stall":     stall,
			"handled":   handled,
			"guarded":   guarded,
			"counted":   countedAll,
			"completes": completesTo,
		},
		Setup: func(env *testscript.Env) error {
			env.Values["nodes"] = &nodes{program: program, running: map[string]*process{}}
			env.Setenv("GORACE", raceOptions)
			env.Setenv("GYRE_SERVER", "http://127.0.0.1:1") // nobody's: a script starts its own
			return nil
		},
	}
}

// process is a gyre serve of a test.
type process struct {
	cmd *exec.Cmd
	url string
	// stopping is closed when the process says that it stops.
	stopping chan struct{}
	// lifetime ends when the process has closed its stderr, and all it said is logged.
	lifetime context.Context
}

// errEnded is the cause of the end of a process's lifetime. A test that did not end the
// process learns by it that somebody else did.
var errEnded = errors.New("the node has ended")

// startWithin is more than any start of a node takes in a test.
const startWithin = time.Minute

// dumpAfter makes the process print its goroutines, and end, if nobody stops it in
// time.
func (p *process) dumpAfter(d time.Duration) *time.Timer {
	return time.AfterFunc(d, func() { _ = p.cmd.Process.Signal(syscall.SIGQUIT) })
}

// metric is the value of one of the node's metrics, whose name is a regular expression.
func metric(t *testing.T, node *process, name string) float64 {
	t.Helper()
	res, err := http.Get(node.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no metric %s", name)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// nodes are those of one script. Scripts run one command at a time.
type nodes struct {
	program string
	running map[string]*process
}

func nodesOf(ts *testscript.TestScript) *nodes { return ts.Value("nodes").(*nodes) }

// serve starts gyre serve, with small files unless args say otherwise, and returns when
// it listens. What it logs goes to logFile.
func serve(dir string, env []string, logFile string, args ...string) (*process, error) {
	return serveWith("gyre", dir, env, logFile, args...)
}

// serveWith is serve with a gyre of another version.
func serveWith(program, dir string, env []string, logFile string, args ...string) (*process, error) {
	gyre, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(gyre, append([]string{"serve", "--listen", "127.0.0.1:0", "--segment-bytes", "1048576"}, args...)...), stopping: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	urls := make(chan string, 1)
	lifetime, ended := context.WithCancelCause(context.Background())
	p.lifetime = lifetime
	go func() { // who ends the process waits for it
		defer ended(errEnded)
		defer log.Close()
		defer close(urls)
		for lines := bufio.NewReader(stderr); ; { // of any length: a node whose log nobody reads blocks
			text, err := lines.ReadString('\n')
			if _, failed := log.WriteString(text); failed != nil || err != nil {
				return
			}
			var line struct{ Msg, URL string }
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "listening" {
				urls <- line.URL
			}
			if strings.HasPrefix(text, "Stopping;") {
				close(p.stopping)
			}
		}
	}()
	late := p.dumpAfter(startWithin)
	url, ok := <-urls
	late.Stop()
	if !ok {
		_, err := p.end(syscall.SIGKILL)
		text, _ := os.ReadFile(logFile)
		return nil, fmt.Errorf("gyre serve did not start (%v): %s", err, text)
	}
	p.url = url
	return p, nil
}

// end sends a signal and returns the exit code, -1 after a kill.
func (p *process) end(s syscall.Signal) (int, error) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	<-p.lifetime.Done()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return p.cmd.ProcessState.ExitCode(), nil
}

func startNode(ts *testscript.TestScript, neg bool, args []string) {
	nodes := nodesOf(ts)
	p, err := serveWith(nodes.program, ts.MkAbs("."), environment(ts), ts.MkAbs("node.log"), args...)
	ts.Check(err)
	if nodes.running["node"] != nil {
		ts.Fatalf("there is a node already")
	}
	nodes.running["node"] = p
	ts.Defer(func() {
		if nodes.running["node"] == p {
			_, _ = p.end(syscall.SIGKILL)
		}
	})
	ts.Setenv("GYRE_SERVER", p.url)
	_, address, _ := strings.Cut(p.url, "://")
	ts.Setenv("ADDRESS", address)
}

func endNode(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if len(args) == 0 || len(args) > 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: end INT|TERM|KILL [CODE]")
	}
	nodes := nodesOf(ts)
	p := nodes.running["node"]
	if p == nil {
		ts.Fatalf("no node")
	}
	nodes.running["node"] = nil
	code, err := p.end(signals[args[0]])
	ts.Check(err)
	if len(args) == 2 && strconv.Itoa(code) != args[1] {
		ts.Fatalf("the node's exit code is %d, want %s", code, args[1])
	}
}

// gyre makes a command of the script's directory and environment.
func gyre(ts *testscript.TestScript, args []string) *exec.Cmd {
	path, err := exec.LookPath(nodesOf(ts).program)
	ts.Check(err)
	cmd := exec.Command(path, args...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = environment(ts)
	return cmd
}

// environment is what of the script's environment the processes of the commands
// above get.
func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "GORACE", "XDG_CONFIG_HOME", "GYRE_SERVER", "GYRE_TOKEN", "GYRE_TLS_CA", "GYRE_CLUSTER", "GYRE_PEERS_MULTICAST", "GYRE_DATA", "GYRE_POSTGRES", "GYRE_STORE", "GYRE_SEGMENT_BYTES"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	cmd := gyre(ts, args[1:])
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if code := cmd.ProcessState.ExitCode(); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt CODE ARG...")
	}
	cmd := gyre(ts, args[1:])
	cmd.Stderr = ts.Stderr()
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	out := bufio.NewReader(stdout)
	first, err := out.ReadString('\n')
	ts.Check(err)
	ts.Check(cmd.Process.Signal(os.Interrupt))
	rest, err := io.ReadAll(out)
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), first+string(rest))
	ts.Check(err)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage FILE OFFSET")
	}
	offset, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("no file matches %s", args[0])
	}
	file, err := os.OpenFile(files[0], os.O_RDWR, 0)
	ts.Check(err)
	defer file.Close()
	b := make([]byte, 1)
	_, err = file.ReadAt(b, offset)
	ts.Check(err)
	b[0] ^= 0xff
	_, err = file.WriteAt(b, offset)
	ts.Check(err)
}

func silence(ts *testscript.TestScript, neg bool, args []string) {
	// What is never accepted stays in the system's queue, connected.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv("GYRE_SERVER", "http://"+l.Addr().String())
}

func denial(ts *testscript.TestScript, neg bool, args []string) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"code":"host_not_allowed","status":403,"title":"no","detail":"this node is not called that"}`)
	}))
	ts.Defer(s.Close)
	ts.Setenv("GYRE_SERVER", s.URL)
}

// stalled is a store that writes appends and never answers.
type stalled struct {
	*core.Store
	taken func()
}

func (s stalled) Submit(ctx context.Context, c core.Commit, _ func(core.Result, error)) {
	s.Store.Submit(ctx, c, func(core.Result, error) { s.taken() })
}

func stall(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	cut := &cutListener{Listener: l}
	store := stalled{core.NewStore(memory.New(), core.StoreConfig{}), func() {}}
	ts.Defer(func() { _ = store.Close() })
	switch {
	case len(args) == 1 && args[0] == "hangup":
		store.taken = cut.cut
	case len(args) > 0:
		ts.Fatalf("usage: stall [hangup]")
	}
	serveHere(ts, cut, wsapi.Config{Store: store})
}

// serveHere serves an API in this process, and sets GYRE_SERVER to it.
func serveHere(ts *testscript.TestScript, l net.Listener, config wsapi.Config) {
	api, err := wsapi.New(config)
	ts.Check(err)
	server := &http.Server{Handler: api}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	ts.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = api.Close(ctx)
		_ = server.Close()
		serving.Wait()
	})
	ts.Setenv("GYRE_SERVER", "http://"+l.Addr().String())
}

// oneKey knows one key, of somebody who may do everything.
type oneKey string

func (k oneKey) Authenticate(token string) (*access.Principal, error) {
	if token != string(k) {
		return nil, core.Errorf(core.CodeUnauthenticated, "no such key")
	}
	return &access.Principal{Name: "k1", Role: access.Admin}, nil
}

func guarded(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: guarded KEY")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	store := core.NewStore(memory.New(), core.StoreConfig{})
	ts.Defer(func() { _ = store.Close() })
	serveHere(ts, l, wsapi.Config{Store: store, Access: oneKey(args[0])})
}

// cutListener is a listener that can break all its connections, and itself.
type cutListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *cutListener) cut() {
	_ = l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
}
