//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// nobodysSecret is the password of the users that tests make.
const nobodysSecret = "tell-nobody"

// TestPostgresScripts runs testdata/postgres against a real server, POSTGRES, each
// script with the name of a STORE that is not there. Beside the commands of
// TestScripts there are
//
//	sql TEXT    runs SQL as the server's superuser, and prints what it answers
//	user NAME   makes a user of the database without privileges; sets NAME to its name
//	            and NAME_URL to a URL
func TestPostgresScripts(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	testscript.Run(t, postgresScripts(t, server, server.URL, "testdata/postgres"))
}

// TestOldPostgresScripts runs testdata/oldpostgres against a PostgreSQL 12.
func TestOldPostgresScripts(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	testscript.Run(t, postgresScripts(t, server, server.Old(t), "testdata/oldpostgres"))
}

func postgresScripts(t *testing.T, server *pgtest.Server, address, dir string) testscript.Params {
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	params := scripts(dir, "gyre")
	setup := params.Setup
	params.Setup = func(env *testscript.Env) error {
		env.Setenv("POSTGRES", address)
		env.Setenv("STORE", server.Store(t))
		env.Setenv("EXAMPLES", examples)
		return setup(env)
	}
	params.Cmds["sql"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: sql TEXT")
		}
		rights.Lock()
		answer, err := query(server, args[0])
		rights.Unlock()
		ts.Check(err)
		_, err = ts.Stdout().Write(answer)
		ts.Check(err)
	}
	params.Cmds["user"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: user NAME")
		}
		name, url := newUser(t, server)
		ts.Setenv(args[0], name)
		ts.Setenv(args[0]+"_URL", url)
	}
	params.Condition = func(c string) (bool, error) {
		if c == "ours" { // the server, so that we know how it is set up
			return os.Getenv("GYRE_TEST_POSTGRES") == "", nil
		}
		return false, fmt.Errorf("unknown condition %q", c)
	}
	return params
}

// query runs SQL and prints the rows, with tabs between values.
func query(server *pgtest.Server, sql string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, server.URL)
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)
	results, err := c.PgConn().Exec(ctx, sql).ReadAll()
	var out bytes.Buffer
	for _, r := range results {
		for _, row := range r.Rows {
			out.Write(append(bytes.Join(row, []byte("\t")), '\n'))
		}
	}
	return out.Bytes(), err
}

// rights is held by who may change those to the database, which all tests share: they are
// one row, and of two who change it at once PostgreSQL refuses one.
var rights sync.Mutex

// newUser makes a user that is gone when the test ends, with all that is theirs.
func newUser(t *testing.T, server *pgtest.Server) (name, address string) {
	name = fmt.Sprintf("user_%x", rand.Uint64())
	server.Exec(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, nobodysSecret))
	t.Cleanup(func() {
		rights.Lock()
		defer rights.Unlock()
		server.Exec(t, fmt.Sprintf("DROP OWNED BY %s CASCADE; DROP ROLE %[1]s", name))
	})
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, nobodysSecret)
	return name, u.String()
}

// TestPostgresDocs runs the queries of docs/postgres.md, which are about the events of
// examples.
func TestPostgresDocs(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	node := servePostgres(t, server.URL, store)
	runOn(t, node, "import", "../../examples/temporal-sample.ndjson")
	text, err := os.ReadFile("../../docs/postgres.md")
	if err != nil {
		t.Fatal(err)
	}
	queries := strings.Split(string(text), "```sql\n")[1:]
	if len(queries) < 3 {
		t.Fatalf("docs/postgres.md has %d queries", len(queries))
	}
	for _, q := range queries {
		q, _, _ = strings.Cut(q, "```")
		answer, err := query(server, strings.ReplaceAll(q, "gyre.", store+"."))
		if err != nil || len(answer) == 0 {
			t.Errorf("%s\nanswers %q, %v", q, answer, err)
		}
	}
}

// TestCrashPostgres is TestCrash with the log in PostgreSQL, where the transactions of a
// killed node may go on for a moment beside the next one. 100 rounds with GYRE_SOAK=1.
func TestCrashPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	crash(t, 5, 100, func() *crasher {
		args := []string{"--node", "n1", "--postgres", server.URL, "--store", server.Store(t)}
		return &crasher{dir: t.TempDir(), args: args, seen: map[core.ID]place{}}
	})
}

// TestCrashSubscribersPostgres is TestCrashSubscribers with the log in PostgreSQL.
func TestCrashSubscribersPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	args := []string{"--node", "n1", "--postgres", server.URL, "--store", server.Store(t)}
	crashSubscribers(t, 3, &crasher{dir: t.TempDir(), args: args}, sdkKind)
}

// M02, M03: two nodes work on two stores of one database at once, with the same streams and the
// same ids. Neither has the events, snapshots and subscriptions of the other, or hears of them.
func TestStoresAreIsolated(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	var nodes []*process
	for range 2 {
		nodes = append(nodes, servePostgres(t, server.URL, server.Store(t)))
	}
	var imports sync.WaitGroup
	for _, node := range nodes {
		imports.Go(func() {
			out, err := on(t, node, "import", "../../examples/temporal-sample.ndjson")
			if err != nil || !strings.Contains(out, "2,000 events written, 0 skipped") {
				t.Errorf("import: %v: %s", err, out)
			}
		})
	}
	imports.Wait()
	runOn(t, nodes[0], "append", "file-temporal/.arcconfig", "OnlyHere")
	follow := exec.CommandContext(t.Context(), "gyre", "tail", "$all", "--from", "2001", "-o", "ndjson")
	follow.Env = append(os.Environ(), "GYRE_SERVER="+nodes[1].url)
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	runOn(t, nodes[1], "append", "file-temporal/.arcconfig", "OnlyThere")
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, `"position":2001`) || !strings.Contains(line, "OnlyThere") {
		t.Errorf("a follow of the second store tells %q, %v", line, err)
	}
	_ = follow.Process.Kill()
	_ = follow.Wait()
	runOn(t, nodes[0], "snapshot", "put", "file-temporal/.arcconfig", "1", `"here"`)
	if out, err := on(t, nodes[1], "snapshot", "get", "file-temporal/.arcconfig"); err == nil || !strings.Contains(out, "snapshot_not_found") {
		t.Errorf("the snapshot of another store: %v: %s", err, out)
	}
	runOn(t, nodes[0], "subscriptions", "create", "only-here")
	if got := runOn(t, nodes[1], "subscriptions", "ls"); strings.Contains(got, "only-here") {
		t.Errorf("the subscriptions of the second store are %s", got)
	}
	for i, want := range []string{"OnlyHere", "OnlyThere"} {
		if got := runOn(t, nodes[i], "read", "$all", "--backward", "--limit", "1"); !strings.Contains(got, want) {
			t.Errorf("node %d ends with %s, want %s", i, got, want)
		}
	}
}

// TestBehindPooler runs a node on PgBouncer in transaction mode, and has doctor say that
// it is there and what is lost.
func TestBehindPooler(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	pooler, store := server.Pooler(t), server.Store(t)
	node := servePostgres(t, pooler.URL, store)
	runOn(t, node, "import", "../../examples/temporal-sample.ndjson")
	if got := runOn(t, node, "streams", "ls", "--limit", "1"); !strings.Contains(got, "author-dev-") {
		t.Errorf("the streams are %s", got)
	}
	for want, args := range map[string][]string{
		"WARN    pooler             something like PgBouncer is in between: a node cannot find a new primary by itself, " +
			"and its prepared statements get lost, so that every call is parsed anew": {"doctor", "--listen", "127.0.0.1:0"},
		"  devel ":              {"migrate", "status"},
		"2,000 events compared": {"copy", "--from", pooler.URL, "--from-store", store, "--to", filepath.Join(t.TempDir(), "copy")},
	} {
		if args[0] != "copy" {
			args = append(args, "--postgres", pooler.URL, "--store", store)
		}
		if got := runOn(t, node, args...); !strings.Contains(got, want) {
			t.Errorf("gyre %s says %s, want %q", args[0], got, want)
		}
	}
}

// servePostgres starts a node on a store, in its own process.
func servePostgres(t *testing.T, url, store string, args ...string) *process {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"--postgres", url, "--store", store}, args...)
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	return node
}

// runOn runs gyre against a node, and answers what it prints.
func runOn(t *testing.T, node *process, args ...string) string {
	t.Helper()
	out, err := on(t, node, args...)
	if err != nil {
		t.Fatalf("gyre %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func on(t *testing.T, node *process, args ...string) (string, error) {
	cmd := exec.CommandContext(t.Context(), "gyre", args...)
	cmd.Env = append(os.Environ(), "GYRE_SERVER="+node.url)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestCrashSnapshotsPostgres is TestCrashSnapshots with the log in PostgreSQL.
func TestCrashSnapshotsPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	args := []string{"--node", "n1", "--postgres", server.URL, "--store", server.Store(t)}
	crashSnapshots(t, &crasher{dir: t.TempDir(), args: args})
}

// TestCrashInARemovalPostgres is TestCrashInARemoval with the log in PostgreSQL, whose remover is
// killed, too, and goes on in the next process.
func TestCrashInARemovalPostgres(t *testing.T) {
	t.Parallel()
	crashInRemovals(t, scavengeCrasherPostgres)
}

// TestCrashInAScavengePostgres is TestCrashInAScavenge with the log in PostgreSQL.
func TestCrashInAScavengePostgres(t *testing.T) {
	t.Parallel()
	crashInScavenges(t, scavengeCrasherPostgres)
}

func scavengeCrasherPostgres(t *testing.T) *scavengeCrasher {
	server := pgtest.Shared(t)
	store := server.Store(t)
	args := []string{"--node", "n1", "--postgres", server.URL, "--store", store}
	c := newScavengeCrasher(&crasher{dir: t.TempDir(), args: args})
	sql := fmt.Sprintf(`SELECT DISTINCT substring(encode(x.bytes, 'escape') FROM 'secret of [^.]*\.')
		FROM (SELECT data AS bytes FROM %[1]s.events UNION ALL SELECT value FROM %[1]s.records) x
		WHERE position('secret of '::bytea IN x.bytes) > 0`, store)
	connection := server.Connect(t)
	c.left = func(t *testing.T) []string {
		t.Helper()
		rows, err := connection.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		secrets, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	return c
}
