package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

func TestSyncNodes(t *testing.T) {
	list := func(entries ...string) []string { return entries }
	for name, c := range map[string]struct {
		mandatory, optional []string
		port                string
		want                string // whom it waits for
		seeds               []string
	}{
		"none": {nil, nil, "7946", "[] []", nil},
		"the guide's": {list("node2@10.0.0.2", "node3@10.0.0.3"), nil, "7946", "[node2@10.0.0.2 node3@10.0.0.3] []",
			list("10.0.0.2:7946", "10.0.0.3:7946")},
		"ids of all kinds": {list("db2.internal", "10.0.0.2:4973", "n@[::1]"), list("a b", "@"), "7000", "[db2.internal 10.0.0.2:4973 n@[::1]] [a b @]",
			list("db2.internal:7000", "10.0.0.2:7000", "[::1]:7000")},
		"addresses":                     {list("b=10.0.0.2:1", "x=y=[::1]:2"), list("c@h=h2:3"), "7946", "[b x=y] [c@h]", list("10.0.0.2:1", "[::1]:2", "h2:3")},
		"itself, and one twice":         {list("self", "self=h:1", "b"), list("b", "c", "c=h:2"), "7946", "[b] [c]", list("b:7946", "c:7946", "h:2")},
		"the system's choice of a port": {list("b", "c=h:2"), nil, "0", "[b c] []", list("h:2")},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Node: "self", Ring: RingConfig{SyncMandatory: c.mandatory, SyncOptional: c.optional, SyncTimeout: time.Second}}
			p := placeInRing{gossip: "127.0.0.1:" + c.port}
			err := p.setSync(&config)
			if got := fmt.Sprint(p.sync.Mandatory, p.sync.Optional); got != c.want || err != nil || !slices.Equal(p.syncSeeds, c.seeds) || p.sync.Timeout != time.Second {
				t.Errorf("it waits for %s, seeds %q, %v; want %s, %q", got, p.syncSeeds, err, c.want, c.seeds)
			}
		})
	}
}

func TestFormationIsValidated(t *testing.T) {
	many := slices.Repeat([]string{"a"}, maxPatterns+1)
	for problem, r := range map[string]RingConfig{
		"sync-nodes-timeout is -1s: leave it unset":         {SyncTimeout: -time.Second},
		`sync-nodes-mandatory: "" has no id`:                {SyncMandatory: []string{""}},
		`sync-nodes-optional: "a=b" is not a node id, or`:   {SyncOptional: []string{"a=b"}},
		`sync-nodes-optional: "a=:7946" is not a node id`:   {SyncOptional: []string{"a=:7946"}},
		`sync-nodes-optional: "a\tb" has no id`:             {SyncOptional: []string{"a\tb"}},
		"node-allow has 33 patterns, the most is 32":        {NodeAllow: many},
		"node-deny: a pattern has 257 bytes":                {NodeDeny: []string{strings.Repeat("a", maxPatternBytes+1)}},
		`node-deny: "/(/" is not a regular expression: err`: {NodeDeny: []string{"/(/"}},
	} {
		err := errors.Join(r.validateSync(), r.validateFilter())
		if !errors.Is(err, core.CodeInvalidConfig) || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v, want %s", err, problem)
		}
	}
}
