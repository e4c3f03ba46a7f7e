package runtime

import (
	"net"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

const (
	// maxPatterns bounds the patterns of a filter, which every view carries.
	maxPatterns     = 32
	maxPatternBytes = 256
)

// syncNode is a node to wait for.
type syncNode struct {
	id      string
	address string // host:port of its gossip; "" if only the id is given
}

// parseSyncNode reads ID or ID=HOST:PORT.
func parseSyncNode(flag, entry string) (syncNode, error) {
	n := syncNode{id: entry}
	if i := strings.LastIndexByte(entry, '='); i >= 0 {
		n.id, n.address = entry[:i], entry[i+1:]
		if host, err := splitAddress(flag, n.address); err != nil || host == "" {
			return n, core.Errorf(core.CodeInvalidConfig, "%s: %.200q is not a node id, or ID=HOST:PORT", flag, entry)
		}
	}
	if n.id == "" || !isName(n.id) {
		return n, core.Errorf(core.CodeInvalidConfig, "%s: %.200q has no id of a node: write ID, or ID=HOST:PORT", flag, entry)
	}
	return n, nil
}

// seed is where the node's gossip may be: on defaultPort if no address is given. It is "" if
// that cannot be told.
func (n syncNode) seed(defaultPort string) string {
	if n.address != "" || defaultPort == "0" {
		return n.address
	}
	host := n.id[strings.LastIndexByte(n.id, '@')+1:]
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "" || strings.ContainsAny(host, " /") {
		return ""
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
}

func (r *RingConfig) validateSync() error {
	if r.SyncTimeout < 0 {
		return core.Errorf(core.CodeInvalidConfig, "sync-nodes-timeout is %v: leave it unset for no wait", r.SyncTimeout)
	}
	mandatory, optional, err := r.syncNodes()
	for _, n := range optional {
		if slices.ContainsFunc(mandatory, func(m syncNode) bool { return m.id == n.id }) {
			return core.Errorf(core.CodeInvalidConfig, "sync-nodes-optional has %q, as sync-nodes-mandatory does: leave it out of one of them", n.id)
		}
	}
	return err
}

// syncNodes reads SyncMandatory and SyncOptional.
func (r *RingConfig) syncNodes() (mandatory, optional []syncNode, err error) {
	for _, list := range []struct {
		flag    string
		entries []string
		nodes   *[]syncNode
	}{{"sync-nodes-mandatory", r.SyncMandatory, &mandatory}, {"sync-nodes-optional", r.SyncOptional, &optional}} {
		for _, entry := range list.entries {
			n, err := parseSyncNode(list.flag, entry)
			if err != nil {
				return nil, nil, err
			}
			*list.nodes = append(*list.nodes, n)
		}
	}
	return mandatory, optional, nil
}

// setSync finds whom the node waits for, and where they may be. The node's id and the address
// of its gossip are known.
func (p *placeInRing) setSync(c *Config) error {
	mandatory, optional, err := c.Ring.syncNodes()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(p.gossip)
	if err != nil {
		return err
	}
	p.sync.Timeout = c.Ring.SyncTimeout
	known := []string{c.Node}
	add := func(list *[]string, n syncNode) {
		if seed := n.seed(port); seed != "" && n.id != c.Node && !slices.Contains(p.syncSeeds, seed) {
			p.syncSeeds = append(p.syncSeeds, seed)
		}
		if !slices.Contains(known, n.id) {
			known, *list = append(known, n.id), append(*list, n.id)
		}
	}
	for _, n := range mandatory {
		add(&p.sync.Mandatory, n)
	}
	for _, n := range optional {
		add(&p.sync.Optional, n)
	}
	return nil
}

func (r *RingConfig) validateFilter() error {
	if err := validatePatterns("node-allow", r.NodeAllow); err != nil {
		return err
	}
	return validatePatterns("node-deny", r.NodeDeny)
}

func validatePatterns(flag string, patterns []string) error {
	if len(patterns) > maxPatterns {
		return core.Errorf(core.CodeInvalidConfig, "%s has %d patterns, the most is %d: join some in a regular expression, /^(a|b)$/", flag, len(patterns), maxPatterns)
	}
	for _, pattern := range patterns {
		if len(pattern) > maxPatternBytes {
			return core.Errorf(core.CodeInvalidConfig, "%s: a pattern has %d bytes, the most is %d", flag, len(pattern), maxPatternBytes)
		}
		if err := ring.CheckPattern(pattern); err != nil {
			return core.Errorf(core.CodeInvalidConfig, "%s: %w", flag, err)
		}
	}
	return nil
}
