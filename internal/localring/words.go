//go:build unix

package localring

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Exports is the line that gives a shell the names of what runs: URL of the database,
// GYRE_SERVER with the addresses, and process ids.
func (r *Ring) Exports() string {
	line := fmt.Sprintf("export URL='%s' GYRE_SERVER=%s", r.config.Postgres, r.Servers())
	for i, n := range r.Nodes {
		line += fmt.Sprintf(" NODE%d_PID=%d", i+1, n.PID())
	}
	return line
}

// Command is what starts a node again.
func (r *Ring) Command(n *Node) string {
	return r.config.Gyre + " " + strings.Join(n.Args, " ")
}

// Words say what runs and what to do with it.
func (r *Ring) Words() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nA ring of %d nodes over %s\n\n", len(r.Nodes), r.config.Postgres)
	for _, n := range r.Nodes {
		fmt.Fprintf(&b, "  %s  http://%s  gossip %s  process %d  log %s\n", n.Name, n.Listen, n.Gossip, n.PID(), filepath.Clean(n.Log))
	}
	fmt.Fprintf(&b, "\nIn another terminal, in this folder:\n\n  %s\n\n", r.Exports())
	gyre := r.config.Gyre
	fmt.Fprintf(&b, "  %s cluster status\n", gyre)
	fmt.Fprintf(&b, "  %s append order-1 OrderPlaced '{\"total\":10}'\n", gyre)
	fmt.Fprintf(&b, "  %s cluster whereis order-1\n\n", gyre)
	b.WriteString("examples/cluster/README.md goes on from here, and docs/cluster.md explains it.\n")
	b.WriteString("Ctrl-C ends the nodes and the database.\n\n")
	return b.String()
}
