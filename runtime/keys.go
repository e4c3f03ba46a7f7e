package runtime

import (
	"context"

	"github.com/gyre-events/gyre/access/api"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/wsapi"
)

// openKeys reads the keys of the store. The error is insecure_listen if the node is to be
// protected by some, and there are none.
func (n *Node) openKeys(ctx context.Context) (err error) {
	config := keys.Config{Store: n.store, Commits: n.store, Node: n.config.Node, Logger: n.logger}
	if n.ring != nil {
		config.Commits = n.ring.router
	}
	if n.keys, err = keys.New(ctx, config); err != nil {
		return err
	}
	return n.config.checkKeys(ctx, n.keys.Protected())
}

// serveKeys has the API ask for keys, and serve them.
func (n *Node) serveKeys(c *wsapi.Config) {
	c.Access, c.Audit = n.keys, audit{n.keys}
	c.Extensions = append(c.Extensions, api.New(n.keys))
}

// Keys are those of the node's store, for users in the same process. They end with the node.
func (n *Node) Keys() *keys.Keys { return n.keys }

// audit records what was done in a store that has keys: of another one nobody knows who it
// was.
type audit struct{ keys *keys.Keys }

// Record is wsapi.Auditor.Record.
func (a audit) Record(ctx context.Context, kind, target, from string) error {
	if !a.keys.Protected() {
		return nil
	}
	return a.keys.Record(ctx, kind, keys.Act{Target: target, From: from})
}
