package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/runtime"
)

// Who may run a command, by groups of the callers of accessNode: '+' is granted order-*, which
// commands are about, and '-' another stream.
const (
	anybody   = "none wrong expired revoked " + anyKey // what it does needs no key
	anyKey    = "operator operator+ writer+ writer- reader+ reader- author+ author-"
	users     = "operator operator+ writer+ writer- reader+ reader-"
	readers   = "operator+ writer+ reader+"
	operators = "operator operator+"
	authors   = "operator operator+ author+ author-"
	admins    = ""
)

// commandMatrix says who may run each command that talks to a node: others exit with 5. Words in
// capitals stand for what the node has.
var commandMatrix = map[string]struct{ args, may string }{
	"append": {"order-1 T {}", "writer+"}, "link": {"order-2 EVENT", "writer+"}, "import": {"IMPORT", "writer+"},
	"read": {"order-1", readers}, "tail": {"order-1 --from start --limit 1", readers}, "export": {"order-1", readers},
	"streams delete": {"order-1 --expect 99", "operator+ writer+"}, "streams undelete": {"order-1", "operator+ writer+"},
	"streams retention": {"order-1 --max-count 9", "operator+"},
	"streams ls":        {"", users}, "streams info": {"order-1", readers}, "types": {"", admins}, "categories": {"", admins},
	"snapshot put": {"order-1 1 {}", "writer+"}, "snapshot rm": {"order-1", "writer+"}, "snapshot ls": {"order-1", readers},
	"snapshot get": {"order-1", readers},
	"progress ls":  {"", users}, "progress show": {"p", users}, "progress rm": {"p", "operator operator+ writer+ writer-"},

	"subscribe":            {"NEW --stream order-1 --until-caught-up", readers},
	"subscriptions create": {"NEW --stream order-1", operators}, "subscriptions update": {"orders --stream order-1", operators},
	"subscriptions ls": {"", operators}, "subscriptions info": {"orders", readers + " operator"}, "subscriptions delete": {"DOOMED", operators},
	"subscriptions pause": {"orders", operators}, "subscriptions resume": {"orders", operators}, "subscriptions reset": {"orders --to end", operators},
	"subscriptions parked": {"orders", operators}, "subscriptions replay": {"orders --all", operators}, "subscriptions drop": {"orders --all", operators},

	"cluster status": {"", operators}, "cluster members": {"", operators}, "cluster views": {"", operators}, "cluster owned": {"", operators},
	"cluster whereis": {"order-1", operators}, "cluster drain": {"", operators}, "cluster undrain": {"", operators}, "cluster leave": {"", operators},

	"plugin ls": {"", authors}, "plugin versions": {"none", authors}, "plugin info": {"none", authors}, "plugin logs": {"none", authors},
	"plugin upload": {"none@1.0.0", authors}, "plugin deploy": {"none@1.0.0", authors}, "plugin pause": {"none", authors}, "plugin resume": {"none", authors}, "plugin rollback": {"none", authors},
	"plugin rebuild": {"none", authors}, "plugin switch": {"none", authors}, "plugin cancel-rebuild": {"none", authors}, "plugin drop-before": {"none", authors},
	"plugin dev": {"PLUGIN --once", readers},
	"plugin rm":  {"none", authors}, "plugin state": {"none", authors + " reader+ reader-"}, "plugin query": {"none", authors + " reader+ reader-"}, "plugin watch": {"none", authors + " reader+ reader-"}, "plugin shadow": {"none --version 1.0.0", authors}, "plugin diff": {"none", authors + " reader+ reader-"}, "plugin dry-run": {"none --version 1.0.0", authors + " reader+ reader-"},
	"plugin poison ls": {"none", authors + " reader+ reader-"}, "plugin poison show": {"none 1", authors + " reader+ reader-"}, "plugin poison run": {"none 1", authors + " reader+ reader-"},
	"plugin poison retry": {"none 1", authors}, "plugin poison drop": {"none 1", authors},

	"backup":   {"NEWDIR", admins},
	"scavenge": {"", operators}, "scavenge status": {"", operators}, "scavenge stop": {"", operators},

	"auth init":   {"", anybody}, // it says to everybody that the store has keys
	"auth whoami": {"", anyKey}, "auth can-i": {"connect", anyKey},
	"auth key create": {"--role admin", admins}, "auth key ls": {"", admins}, "auth key revoke": {"none", admins},

	"bench append": {"--events 1 --workers 1", admins}, "bench follow": {"--events 1", admins}, "bench read": {"order-1 --events 1", readers},
	"copy": {"--from SERVER --from-token-file TOKEN --to NEWDIR", admins},

	"ping": {"", anybody}, "stats": {"", operators}, "config": {"", operators}, "doctor": {"--engine memory", anybody},
}

// accessNode is a node with a file of a key for each caller.
type accessNode struct {
	*runtime.Node
	dir    string
	event  string
	plugin string // a directory
}

// TestEveryCommandSaysWhoMay runs every command that talks to a node with every key. One without a
// row fails.
func TestEveryCommandSaysWhoMay(t *testing.T) {
	n := newAccessNode(t)
	seen := 0
	for _, path := range talking(newRoot(&app{getenv: os.Getenv}), nil) {
		row, ok := commandMatrix[path]
		if !ok {
			t.Errorf("gyre %s has no row: say who may run it", path)
			continue
		}
		seen++
		for _, caller := range append(strings.Fields(anybody), "admin") {
			code, said := n.run(t, caller, path, row.args)
			may := caller == "admin" || slices.Contains(strings.Fields(row.may), caller)
			misused := code == exitUsage && !strings.Contains(said, "in no ring") && !strings.Contains(said, "explain not_supported")
			if (code != exitDenied) != may || misused || code == exitUnavailable || code == exitTimeout {
				t.Errorf("gyre %s by %s exits with %d, it may is %v: %s", path, caller, code, may, said)
			}
		}
	}
	if seen != len(commandMatrix) {
		t.Errorf("the matrix has %d rows for %d commands", len(commandMatrix), seen)
	}
}

// talking are the paths of the commands that take a key.
func talking(cmd *cobra.Command, above []string) (paths []string) {
	if cmd.Flags().Lookup("token-file") != nil || cmd.Flags().Lookup("from-token-file") != nil {
		paths = append(paths, strings.Join(above, " "))
	}
	for _, below := range cmd.Commands() {
		paths = append(paths, talking(below, append(slices.Clone(above), below.Name()))...)
	}
	return paths
}

func newAccessNode(t *testing.T) *accessNode {
	t.Helper()
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	n := &accessNode{Node: node, dir: t.TempDir()}
	t.Setenv("XDG_CONFIG_HOME", n.dir) // no key is saved there
	t.Setenv("GYRE_TOKEN", "")
	id := core.NewID()
	n.event = id.String()
	event := core.NewEvent{ID: id, Type: "T", Data: []byte("{}")}
	if _, err := node.Store().Append(t.Context(), core.Commit{Appends: []core.Append{{Stream: "order-1", Expect: core.AnyVersion, Events: []core.NewEvent{event}}}}); err != nil {
		t.Fatal(err)
	}
	d := subscriptions.DefaultDefinition()
	d.Stream = "order-1"
	if _, _, err := node.Subscriptions().Put(t.Context(), "orders", &d); err != nil {
		t.Fatal(err)
	}
	n.write(t, "import", `{"stream":"order-3","type":"T","data":{}}`+"\n")
	n.plugin, _ = copyingPlugin(t)
	n.makeKeys(t)
	return n
}

// makeKeys makes the keys of the callers.
func (n *accessNode) makeKeys(t *testing.T) {
	t.Helper()
	_, admin, err := n.Keys().Init(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	p, err := n.Keys().Authenticate(admin)
	if err != nil {
		t.Fatal(err)
	}
	ctx := access.With(t.Context(), p)
	n.write(t, "admin", admin)
	n.write(t, "wrong", keys.NewToken())
	make := func(caller string, k keys.Key) (made keys.Key, token string) {
		made, token, err := n.Keys().Create(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		n.write(t, caller, token)
		return made, token
	}
	for prefix, role := range map[string]access.Role{"operator": access.Operator, "writer": access.Writer, "reader": access.Reader, "author": access.PluginAuthor} {
		make(prefix+"+", keys.Key{Role: role, Streams: []string{"order-*"}})
		make(prefix+"-", keys.Key{Role: role, Streams: []string{"other-*"}})
	}
	make("operator", keys.Key{Role: access.Operator})
	revoked, _ := make("revoked", keys.Key{Role: access.Admin})
	if err := n.Keys().Revoke(ctx, revoked.ID); err != nil {
		t.Fatal(err)
	}
	_, token := make("expired", keys.Key{Role: access.Admin, Expires: time.Now().Add(time.Second)})
	if p, err := n.Keys().Authenticate(token); err == nil {
		<-p.Ended()
	}
}

func (n *accessNode) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs a command with the key of a caller, and returns its exit code and what it says.
func (n *accessNode) run(t *testing.T, caller, path, line string) (code int, said string) {
	t.Helper()
	token := filepath.Join(n.dir, caller)
	if caller == "none" {
		token = ""
	}
	if strings.Contains(line, "DOOMED") {
		d := subscriptions.DefaultDefinition()
		d.Stream = "order-1"
		if _, _, err := n.Subscriptions().Put(t.Context(), "doomed", &d); err != nil {
			t.Fatal(err)
		}
	}
	args := append(strings.Fields(path), n.words(line, caller, token)...)
	if path != "copy" {
		args = append(args, "--server", n.URL(), "--timeout", "20s")
		if token != "" {
			args = append(args, "--token-file", token)
		}
	}
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code = run(ctx, args, strings.NewReader(""), &out, &out)
	return code, out.String()
}

// words are those of a line, with what those in capitals stand for.
func (n *accessNode) words(line, caller, token string) []string {
	fresh := caller + "-" + core.NewID().String()
	words := strings.Fields(line)
	for i, word := range words {
		if stands, ok := map[string]string{
			"EVENT": n.event, "DOOMED": "doomed", "NEW": fresh, "IMPORT": filepath.Join(n.dir, "import"), "PLUGIN": n.plugin,
			"SERVER": n.URL(), "TOKEN": token, "NEWDIR": filepath.Join(n.dir, fresh),
		}[word]; ok {
			words[i] = stands
		}
	}
	return words
}
