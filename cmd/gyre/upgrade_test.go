//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/sdk"
)

// What two versions to come might do to the schema: the first adds, so that nodes of
// this version go on, the second takes away what only they use, and needs the first.
const (
	expandSQL = `-- least: %d
ALTER TABLE {schema}.events ADD COLUMN tenant text;
CREATE INDEX events_tenant ON {schema}.events (tenant) WHERE tenant IS NOT NULL;
CREATE OR REPLACE VIEW {schema}.events_json AS
SELECT e.position, s.name AS stream, e.version, e.id, e.type, coalesce(e.time, e.recorded) AS time,
       {schema}.json_or_null(e.data) AS data, {schema}.json_or_null(e.metadata) AS metadata,
       e.correlation AS correlation_id,
       {schema}.json_or_null(e.metadata) ->> 'causation_id' AS causation_id, e.tenant
FROM {schema}.events e JOIN {schema}.streams s ON s.id = e.stream;
`
	contractSQL = `-- least: %d
ALTER TABLE {schema}.log ALTER COLUMN one DROP DEFAULT;
`
)

// enoughAppends of each worker is enough to say that a node works.
const enoughAppends = 50

// TestRollingUpgrade replaces nodes of a ring one after another, under load: one of this
// version and one of the next, which migrates the schema, work on one store together. The one
// after that takes away what the first uses, and has to wait until it is gone. It
// builds both, with their migrations.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	known, err := postgres.Migrations(store)
	if err != nil {
		t.Fatal(err)
	}
	n := len(known)
	expand, contract := fmt.Sprintf(expandSQL, known[n-1].Least), fmt.Sprintf(contractSQL, n+1)
	next := buildNext(t, n+1, expand)
	last := buildNext(t, n+1, expand, contract)

	u := &upgrade{t: t, url: server.URL, store: store, seen: map[core.ID]place{}}
	old := u.start("gyre")
	oldLoad := u.load(old)
	oldLoad.await(enoughAppends)
	newer := u.start(next) // it migrates under the load of the old one
	u.isAt(server, n+1, known[n-1].Least)
	newerLoad := u.load(newer)
	oldLoad.await(enoughAppends)
	newerLoad.await(enoughAppends)
	oldLoad.stop()
	u.end(old)
	old = u.start("gyre") // somebody may have to roll back
	oldLoad = u.load(old)
	oldLoad.await(enoughAppends)
	newerLoad.await(enoughAppends)

	for _, command := range [][]string{{"migrate", "up"}, {"serve", "--listen", "127.0.0.1:0"}} {
		u.refuses(last, command, exitConflict, core.CodeNodesOutdated, fmt.Sprintf(" (gyre devel, knows %d)", n))
	}
	u.isAt(server, n+1, known[n-1].Least)
	oldLoad.await(enoughAppends)
	oldLoad.stop()
	u.end(old)
	out, err := u.gyre(last, "migrate", "up")
	if err != nil {
		t.Fatalf("without nodes that are too old: %v: %s", err, out)
	}
	u.isAt(server, n+2, n+1)
	newerLoad.await(enoughAppends) // it knows enough
	newerLoad.stop()
	u.refuses("gyre", []string{"serve", "--listen", "127.0.0.1:0"}, exitOther, core.CodeStoreNewer, fmt.Sprintf("knows %d", n))
	u.end(newer)
	newer = u.start(last)
	u.check(newer)
	u.end(newer)
}

// refuses runs a command that has to fail with a code, and to say why.
func (u *upgrade) refuses(program string, args []string, code int, why core.Code, words string) {
	u.t.Helper()
	out, err := u.gyre(program, args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !containsCode(out, why) || !strings.Contains(string(out), words) {
		u.t.Errorf("gyre %s: %v: %s, want %s with %q", args, err, out, why, words)
	}
}

func containsCode(out []byte, code core.Code) bool {
	var e struct{ Code core.Code }
	return json.Unmarshal(out, &e) == nil && e.Code == code
}

// buildNext builds a gyre that has further migrations, from a version on.
func buildNext(t *testing.T, version int, sql ...string) string {
	t.Helper()
	dir := t.TempDir()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	replace := make(map[string]string)
	for i, text := range sql {
		name := fmt.Sprintf("%04d_next.sql", version+i)
		replace[filepath.Join(root, "core/postgres/migrations", name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "gyre")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return program
}

// upgrade is a store with nodes of several versions.
type upgrade struct {
	t          *testing.T
	url, store string

	mu   sync.Mutex // protects the field below
	seen map[core.ID]place
}

// gyre runs a command of some version on the store.
func (u *upgrade) gyre(program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(u.t.Context(), startWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append(args, "-o", "json")...)
	cmd.Env = append(os.Environ(), "GYRE_POSTGRES="+u.url, "GYRE_STORE="+u.store)
	return cmd.CombinedOutput()
}

// isAt checks what the store says of itself: its newest migration, and the one that a
// node has to know.
func (u *upgrade) isAt(server *pgtest.Server, newest, least int) {
	u.t.Helper()
	got, err := query(server, fmt.Sprintf("SELECT max(version), max(least) FROM %s.migrations", u.store))
	if want := fmt.Sprintf("%d\t%d\n", newest, least); err != nil || string(got) != want {
		u.t.Fatalf("the store is at %q, %v, want %q", got, err, want)
	}
}

func (u *upgrade) start(program string) *process {
	u.t.Helper()
	dir := u.t.TempDir()
	node, err := serveWith(program, dir, os.Environ(), filepath.Join(dir, "node.log"), "--postgres", u.url, "--store", u.store,
		"--cluster", "--node", filepath.Base(dir), "--gossip", "127.0.0.1:0", "--quorum", "1")
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { _ = node.cmd.Process.Kill() })
	return node
}

func (u *upgrade) end(node *process) {
	u.t.Helper()
	if code, err := node.end(syscall.SIGTERM); err != nil || code != exitOK {
		u.t.Fatalf("a node stopped with exit code %d, %v", code, err)
	}
}

// load is appends through a node, every one of which has to succeed.
type load struct {
	t        *testing.T
	appended chan struct{} // is told of appends while somebody listens
	stopping chan struct{}
	workers  sync.WaitGroup
	client   *sdk.Client
}

func (u *upgrade) load(node *process) *load {
	u.t.Helper()
	l := &load{t: u.t, appended: make(chan struct{}), stopping: make(chan struct{}), client: u.dial(node)}
	for w := range crashWorkers {
		l.workers.Go(func() {
			for n := 0; u.appendOne(l, crashCommit(w, n)); n++ {
			}
		})
	}
	return l
}

// appendOne is false when the load is to end.
func (u *upgrade) appendOne(l *load, c core.Commit) bool {
	ctx, cancel := context.WithTimeout(u.t.Context(), 20*time.Second)
	defer cancel()
	result, err := l.client.Append(ctx, c)
	if err != nil {
		u.t.Errorf("append: %v", err)
		return false
	}
	u.mu.Lock()
	note(u.seen, c, result)
	u.mu.Unlock()
	select {
	case l.appended <- struct{}{}:
	case <-l.stopping:
		return false
	default:
	}
	return true
}

// await waits until that many appends were answered.
func (l *load) await(appends int) {
	l.t.Helper()
	late := time.After(30 * time.Second)
	for range appends {
		select {
		case <-l.appended:
		case <-late:
			l.t.Fatal("appends are not answered")
		}
	}
}

func (l *load) stop() {
	close(l.stopping)
	l.workers.Wait()
	_ = l.client.Close()
}

func (u *upgrade) dial(node *process) *sdk.Client {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 10*time.Second)
	defer cancel()
	client, err := sdk.Dial(ctx, node.url, sdk.Options{})
	if err != nil {
		u.t.Fatal(err)
	}
	return client
}

// check compares the log with what was acknowledged.
func (u *upgrade) check(node *process) {
	client := u.dial(node)
	defer client.Close()
	c := crasher{seen: u.seen}
	c.check(node.lifetime, u.t, client)
	u.t.Logf("%d events", len(u.seen))
}
