package runtime_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
	"github.com/gyre-events/gyre/runtime"
)

func TestMain(m *testing.M) { wasmtest.Main(m) }

// start runs a node for a test and stops it after it.
func start(t *testing.T, c runtime.Config) *runtime.Node {
	t.Helper()
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	node, err := runtime.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, node) })
	return node
}

func stop(t *testing.T, node *runtime.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := node.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// get returns the status and the body of the answer to a GET request.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	return request(t, http.MethodGet, url, "", 0)
}

// request returns the status and the body of the answer to a request. The node has so long
// for it, if that is not 0.
func request(t *testing.T, method, url, body string, timeout time.Duration) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if timeout > 0 {
		r.Header.Set("Gyre-Timeout", strconv.FormatInt(timeout.Milliseconds(), 10))
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func TestNodeServesAndStops(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory})
	if status, _ := get(t, node.URL()+"/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	if !strings.HasPrefix(node.URL(), "http://127.0.0.1:") || !strings.HasSuffix(node.URL(), node.Addr()) {
		t.Errorf("url %q, address %q", node.URL(), node.Addr())
	}
	stop(t, node)
	if conn, err := net.Dial("tcp", node.Addr()); err == nil {
		conn.Close()
		t.Error("a stopped node still listens")
	}
	_, err := node.Store().Append(t.Context(), commit("s", "A"))
	if !errors.Is(err, core.CodeStoreClosed) {
		t.Errorf("append to a stopped node: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	taken := start(t, runtime.Config{Engine: runtime.EngineMemory})
	for name, c := range map[string]struct {
		config runtime.Config
		code   core.Code
	}{
		"every address":         {runtime.Config{Listen: "0.0.0.0:0"}, core.CodeInsecureListen},
		"every address, unsaid": {runtime.Config{Listen: ":0"}, core.CodeInsecureListen},
		"every IPv6 address":    {runtime.Config{Listen: "[::]:0"}, core.CodeInsecureListen},
		"another machine's":     {runtime.Config{Listen: "192.0.2.1:4973"}, core.CodeInsecureListen},
		"no port":               {runtime.Config{Listen: "127.0.0.1"}, core.CodeInvalidConfig},
		"port of letters":       {runtime.Config{Listen: "127.0.0.1:http"}, core.CodeInvalidConfig},
		"port out of range":     {runtime.Config{Listen: "127.0.0.1:70000"}, core.CodeInvalidConfig},
		"taken address":         {runtime.Config{Listen: taken.Addr(), Engine: runtime.EngineMemory}, core.CodeInvalidConfig},
		"unknown engine":        {runtime.Config{Engine: "floppy"}, core.CodeInvalidConfig},
		"postgres without URL":  {runtime.Config{Engine: runtime.EnginePostgres}, core.CodeInvalidConfig},
		"two engines":           {runtime.Config{Engine: runtime.EngineDisk, Postgres: postgres.Config{URL: "postgres://db/x"}}, core.CodeInvalidConfig},
		"store on a disk":       {runtime.Config{Postgres: postgres.Config{Store: "orders"}}, core.CodeInvalidConfig},
		"bad URL":               {runtime.Config{Postgres: postgres.Config{URL: "http://db/x"}}, core.CodeInvalidConfig},
		"no server":             {runtime.Config{Listen: "127.0.0.1:0", Postgres: postgres.Config{URL: "postgres://127.0.0.1:1/x"}}, core.CodeStoreUnavailable},
		"origin without scheme": {runtime.Config{AllowOrigins: []string{"example.com"}}, core.CodeInvalidConfig},
		"origin with a path":    {runtime.Config{AllowOrigins: []string{"http://app.example/x"}}, core.CodeInvalidConfig},
		"origin with a query":   {runtime.Config{AllowOrigins: []string{"http://app.example?x"}}, core.CodeInvalidConfig},
		"origin without a host": {runtime.Config{AllowOrigins: []string{"http://:80"}}, core.CodeInvalidConfig},
		"origin with a user":    {runtime.Config{AllowOrigins: []string{"http://me@app.example"}}, core.CodeInvalidConfig},
		"host with a path":      {runtime.Config{AllowHosts: []string{"a/b"}}, core.CodeInvalidConfig},
	} {
		t.Run(name, func(t *testing.T) {
			node, err := runtime.Start(t.Context(), c.config)
			if err == nil {
				stop(t, node)
			}
			if !errors.Is(err, c.code) {
				t.Errorf("error %v, want %s", err, c.code)
			}
		})
	}
}

func TestLoopbackNamesAreFine(t *testing.T) {
	for _, listen := range []string{"localhost:0", "[::1]:0", "127.0.0.2:0"} {
		node, err := runtime.Start(t.Context(), runtime.Config{Listen: listen, Engine: runtime.EngineMemory})
		if err != nil {
			if strings.HasPrefix(listen, "[::1]") && strings.Contains(err.Error(), "assign requested address") {
				continue // a machine without IPv6
			}
			t.Errorf("%s: %v", listen, err)
			continue
		}
		stop(t, node)
	}
}

func TestInsecureIsSaid(t *testing.T) {
	node := start(t, runtime.Config{Listen: "0.0.0.0:0", Insecure: true, Engine: runtime.EngineMemory})
	if !strings.HasPrefix(node.URL(), "http://127.0.0.1:") {
		t.Errorf("url %q is not one to call", node.URL())
	}
	if status, _ := get(t, node.URL()+"/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, Load: runtime.Load{MaxConnections: 1}})
	first, err := net.Dial("tcp", node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	// The one connection is in use: a second is not answered until it ends.
	answered := make(chan int, 1)
	go func() {
		status, _ := get(t, node.URL()+"/livez")
		answered <- status
	}()
	if _, err := io.WriteString(first, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(first); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("second connection: %d", status)
	}
}

func commit(stream, typ string) core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: core.AnyVersion,
		Events: []core.NewEvent{{Type: typ, Data: []byte(`{}`)}},
	}}}
}

func TestRestartKeepsData(t *testing.T) {
	config := runtime.Config{Data: t.TempDir(), SegmentBytes: 1 << 20}
	first := start(t, config)
	result, err := first.Store().Append(t.Context(), commit("s", "A"))
	if err != nil {
		t.Fatal(err)
	}
	// One directory, one node.
	if second, err := runtime.Start(t.Context(), runtime.Config{Listen: "127.0.0.1:0", Data: config.Data}); !errors.Is(err, core.CodeStoreLocked) {
		if err == nil {
			stop(t, second)
		}
		t.Errorf("a second node of the same data: %v", err)
	}
	log := first.Store().State().Log
	stop(t, first)

	again := start(t, config)
	page, err := again.Store().Read(t.Context(), core.ReadRequest{Stream: core.All})
	if err != nil || page.Count != 1 || page.Last != result.Position {
		t.Errorf("after a restart: %d events up to %d, %v", page.Count, page.Last, err)
	}
	if got := again.Store().State().Log; got != log {
		t.Errorf("the log is %q, was %q", got, log)
	}
}

func TestReadyUntilClosed(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory})
	if status, body := get(t, node.URL()+"/readyz"); status != http.StatusOK {
		t.Fatalf("readyz: %d %s", status, body)
	}
	// An event stream that is open keeps nobody from stopping.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node.URL()+"/v1/streams/$all/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	events, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	if events.StatusCode != http.StatusOK {
		t.Fatalf("event stream: %d", events.StatusCode)
	}
	began := time.Now()
	stop(t, node)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestCloseGivesRequestsUp(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Listen: "127.0.0.1:0", Engine: runtime.EngineMemory})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// The rest of the body never comes.
	head := "POST /v1/streams/s/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n["
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, node.URL()+"/livez"); status != http.StatusOK {
		t.Fatalf("livez: %d", status)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := node.Close(ctx); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("close: %v after %s", err, time.Since(began))
	}
}

func TestNodesHaveNames(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	node := start(t, runtime.Config{Engine: runtime.EngineMemory})
	_, port, err := net.SplitHostPort(node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	for name, node := range map[string]*runtime.Node{
		net.JoinHostPort(host, port): node,
		"node-7":                     start(t, runtime.Config{Engine: runtime.EngineMemory, Node: "node-7"}),
	} {
		for _, path := range []string{"/v1/server", "/"} {
			if _, body := get(t, node.URL()+path); !strings.Contains(body, name) {
				t.Errorf("%s does not name %s: %s", path, name, body)
			}
		}
	}
	for _, name := range []string{"a\nb", "\xff", strings.Repeat("x", 129)} {
		if err := (runtime.Config{Engine: runtime.EngineMemory, Node: name}).Validate(t.Context()); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("node %q: %v", name, err)
		}
	}
}

func TestNodeTellsWhatItsStoreDid(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory})
	c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: 0, Events: []core.NewEvent{{Type: "T", Data: []byte("1")}}}}}
	if _, err := node.Store().Append(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Store().Append(t.Context(), c); !errors.Is(err, core.CodeWrongExpectedVersion) {
		t.Fatal(err)
	}
	_, text := get(t, node.URL()+"/metrics")
	for _, line := range []string{
		"gyre_store_commits_total 2", "gyre_store_events_total 1", "gyre_store_conflicts_total 1",
		"gyre_store_read_only 0", "gyre_log_head_position 1", "go_goroutines ",
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("/metrics has no %q", line)
		}
	}
}

// longData makes the data of a node whose next start has several segments to read.
func longData(t *testing.T) string {
	t.Helper()
	config := runtime.Config{Data: t.TempDir(), SegmentBytes: 64 << 10}
	node := start(t, config)
	event := core.NewEvent{Type: "A", Data: []byte(`"` + strings.Repeat("x", 32<<10) + `"`)}
	for range 8 {
		c := core.Commit{Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}
		if _, err := node.Store().Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, node)
	if err := os.RemoveAll(filepath.Join(config.Data, "index")); err != nil {
		t.Fatal(err)
	}
	return config.Data
}

// TestAnswersWhileStarting asks a node from within its start, when it has read a part
// of its log.
func TestAnswersWhileStarting(t *testing.T) {
	config := runtime.Config{Listen: freeAddress(t), Data: longData(t)}
	calls := 0
	url := "http://" + config.Listen
	config.Progress = func(done, total int64) {
		if calls++; calls > 1 {
			return
		}
		for path, want := range map[string]struct {
			status int
			body   string
		}{
			"/livez":          {http.StatusOK, "ok\n"},
			"/readyz":         {http.StatusServiceUnavailable, "not ready\nstarting: the node is opening its log, and has read 0 of 0 MiB\n"},
			"/healthz":        {http.StatusServiceUnavailable, "not ready\n"},
			"/v1/events":      {http.StatusServiceUnavailable, `"code":"starting"`},
			"/v1/ws":          {http.StatusServiceUnavailable, `"code":"starting"`},
			"/v1/streams/s/e": {http.StatusServiceUnavailable, `"retryable":true`},
		} {
			if status, body := get(t, url+path); status != want.status || !strings.Contains(body, want.body) {
				t.Errorf("%s while starting: %d %s", path, status, body)
			}
		}
		if done <= 0 || done > total {
			t.Errorf("%d of %d", done, total)
		}
	}
	node := start(t, config)
	if calls == 0 {
		t.Fatal("no progress was told")
	}
	if status, body := get(t, node.URL()+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz once it has started: %d %s", status, body)
	}
}

// TestInterruptedStart ends the context of a start that has begun to read the log.
func TestInterruptedStart(t *testing.T) {
	config := runtime.Config{Listen: freeAddress(t), Data: longData(t)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	config.Progress = func(_, _ int64) { cancel() }
	node, err := runtime.Start(ctx, config)
	if err == nil {
		stop(t, node)
	}
	if !errors.Is(err, core.CodeCanceled) {
		t.Errorf("a start whose context ended: %v", err)
	}
	start(t, config) // neither the address nor the data is held
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
