//go:build unix

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// formation is a ring whose nodes wait for each other, each with its own log.
type formation struct {
	*ringOf
	gossip map[string]string // of the nodes, by id
}

// newFormation makes a ring of nodes a and b, whose gossip addresses are known beforehand.
func newFormation(t *testing.T) *formation {
	t.Parallel() // it waits, most of the time
	addresses := unused(t, 2)
	return &formation{newRingOf(t), map[string]string{"a": addresses[0], "b": addresses[1]}}
}

// node starts a node, which listens when it returns.
func (f *formation) node(id string, flags ...string) *process {
	f.t.Helper()
	p, err := f.start(append([]string{"--node", id, "--gossip", f.gossip[id]}, flags...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

// ends waits until a node ends by itself, and checks its exit code and what it said last.
func (f *formation) ends(p *process, code int, words string) {
	f.t.Helper()
	<-p.lifetime.Done()
	got, err := p.end(syscall.SIGKILL)
	if err != nil {
		f.t.Fatal(err)
	}
	said, err := os.ReadFile(filepath.Join(p.cmd.Dir, "log"))
	if err != nil {
		f.t.Fatal(err)
	}
	if got != code || !strings.Contains(string(said), words) {
		f.t.Errorf("the node ended with %d, want %d and %q:\n%s", got, code, words, said)
	}
}

// stops stops a node as an operator does.
func (f *formation) stops(p *process) {
	f.t.Helper()
	if code, err := p.end(syscall.SIGTERM); code != exitOK || err != nil {
		f.t.Errorf("the node ended with %d, %v", code, err)
	}
}

// logged waits for words in a node's log.
func (f *formation) logged(p *process, words string) {
	f.t.Helper()
	var said []byte
	for by := time.Now().Add(startWithin); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		var err error
		if said, err = os.ReadFile(filepath.Join(p.cmd.Dir, "log")); err != nil {
			f.t.Fatal(err)
		}
		if strings.Contains(string(said), words) {
			return
		}
	}
	f.t.Errorf("%q is not in the log: %s", words, said)
}

// prints runs a command until it prints some words: a node looks at its ring twice a second.
func (f *formation) prints(s *shell, command, words string) {
	f.t.Helper()
	got := ""
	for by := time.Now().Add(startWithin); time.Now().Before(by); time.Sleep(20 * time.Millisecond) {
		if got = s.run(command); strings.Contains(got, words) {
			return
		}
	}
	f.t.Errorf("$ %s\nprints %s\nwant %q", command, got, words)
}

// TestSyncUnset (S01): a node without a timeout waits for nobody.
func TestSyncUnset(t *testing.T) {
	f := newFormation(t)
	f.readiness(f.node("a", "--sync-nodes-mandatory", "ghost@127.0.0.1"), "ok\n")
}

// TestSyncMandatoryMissing (S02): the node ends, and names them.
func TestSyncMandatoryMissing(t *testing.T) {
	f := newFormation(t)
	p := f.node("a", "--sync-nodes-mandatory", "ghost@127.0.0.1", "--sync-nodes-timeout", "2000")
	f.ends(p, exitUnavailable, "Error: mandatory nodes are not up after 2s: ghost@127.0.0.1 has not started\n")
}

// TestSyncOptionalMissing (S03): the node goes on, and warns.
func TestSyncOptionalMissing(t *testing.T) {
	f := newFormation(t)
	p := f.node("a", "--sync-nodes-optional", "ghost@127.0.0.1", "--sync-nodes-timeout", "1000")
	f.readiness(p, "ok\n")
	f.logged(p, "the node goes on without optional nodes")
}

// TestSyncAllUp (S04): nodes that wait for each other go on long before the timeout. Their
// timeouts differ, of which they warn.
func TestSyncAllUp(t *testing.T) {
	f := newFormation(t)
	a := f.node("a", "--sync-nodes-mandatory", "b="+f.gossip["b"]+",a", "--sync-nodes-timeout", "3600000")
	f.readiness(a, "starting: the node waits for others: b has not started")
	b := f.node("b", "--sync-nodes-mandatory", "a="+f.gossip["a"]+",b", "--sync-nodes-timeout", "3500000")
	f.readiness(a, "ok\n")
	f.readiness(b, "ok\n")
	f.logged(b, "different --sync-nodes-timeout (a 3600000; b 3500000)")
}

// TestSyncInfinity (S05): infinity waits for optional nodes, too. Meanwhile the node is alive.
func TestSyncInfinity(t *testing.T) {
	f := newFormation(t)
	a := f.node("a", "--sync-nodes-optional", "b", "--sync-nodes-timeout", "infinity")
	f.readiness(a, "not ready\nstarting: the node waits for others: b has not started (optional)\n")
	answer, err := asks.Get(a.url + "/livez")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("livez is %s", answer.Status)
	}
	s := startShell(t, t.TempDir(), "export GYRE_SERVER="+strings.TrimPrefix(a.url, "http://"))
	for command, want := range map[string]string{
		"gyre cluster status":             "serving  no: the node waits for others: b has not started (optional)\n",
		"gyre cluster status -o ndjson":   `"syncMissing":{"optional":["b"]}`,
		"gyre cluster members":            "a (waits for b)",
		"gyre cluster members -o ndjson":  `"syncing":true`,
		"curl -s " + a.url + "/metrics":   "\ngyre_cluster_sync_missing 1\n",
		"gyre append s A --timeout 100ms": "More: gyre explain no_node_available",
	} {
		f.prints(s, command, want)
	}
	f.node("b")
	f.readiness(a, "ok\n")
}

// TestSyncIsCheckedAgain (S07): a node that was up and is gone before this one serves is
// waited for again. A node that waits can be stopped.
func TestSyncIsCheckedAgain(t *testing.T) {
	f := newFormation(t)
	flags := []string{"--quorum", "3"} // so that none serves
	a := f.node("a", append(flags, "--sync-nodes-mandatory", "b", "--sync-nodes-timeout", "infinity")...)
	b := f.node("b", flags...)
	f.readiness(a, "no_quorum: the ring has no view yet: 2 alive (a, b)")
	f.stops(b)
	f.readiness(a, "starting: the node waits for others: b ")
	b = f.node("b", flags...)
	f.readiness(a, "no_quorum")
	f.stops(b)
	f.readiness(a, "starting: the node waits for others: b ")
	f.stops(a)
}

// TestFilteredNode: an entry node takes all calls, and owns nothing.
func TestFilteredNode(t *testing.T) {
	f := newFormation(t)
	deny := []string{"--node-deny", "/^b$/"}
	a, b := f.node("a", deny...), f.node("b", deny...)
	f.readiness(a, "ok\n")
	f.readiness(b, "ok\n")
	s := startShell(t, t.TempDir(), "export GYRE_SERVER="+strings.TrimPrefix(b.url, "http://"))
	for _, step := range []struct{ command, want string }{
		{`gyre append order-1 OrderPlaced '{"total":10}'`, "appended 1 to order-1: version 1"},
		{"gyre read order-1 -o ndjson", `"type":"OrderPlaced"`},
		{"gyre subscribe audit --stream order-1 --until-caught-up --exec cat", `"type":"OrderPlaced"`},
		{"gyre cluster whereis order-1", "owner         a at "},
		{"gyre cluster status", "serving  yes, as an entry node: it is filtered out"},
		{"gyre cluster status", "  entry   0 "},
		{"gyre cluster status", "1 of 1 members are alive"},
		{"gyre cluster drain; gyre cluster undrain", "b owns its share again"},
		{"curl -s " + b.url + "/metrics", "\ngyre_cluster_filtered 1\n"},
		{"gyre cluster drain --node a", "Try: Start another node first."},
		{"gyre cluster status --node ghost", "Error: the ring has no node \"ghost\": it has a, b\nTry: Name one of these with --node"},
	} {
		f.prints(s, step.command, step.want)
	}
	f.stops(b)
	f.logsAs(b, "b")
}

// logsAs checks that every line of a node's log has its id.
func (f *formation) logsAs(p *process, id string) {
	f.t.Helper()
	said, err := os.ReadFile(filepath.Join(p.cmd.Dir, "log"))
	if err != nil {
		f.t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(said)) {
		if !strings.HasPrefix(line, "{") {
			continue // for people
		}
		if lines++; strings.Count(line, `"node":`) != 1 || !strings.Contains(line, `"node":"`+id+`"`) {
			f.t.Errorf("node %s logs %s", id, line)
		}
	}
	if lines == 0 {
		f.t.Errorf("node %s logs nothing: %s", id, said)
	}
}
