package runtime

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/api"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/secret"
	"github.com/gyre-events/gyre/wsapi"
)

const (
	// maxAdminKeyFile is more than a key has.
	maxAdminKeyFile = 4 << 10
	// acceptTimeout bounds the write of the first key.
	acceptTimeout = 30 * time.Second
)

// openKeys reads the keys of the store. The error is invalid_config if the admin's key of the
// configuration is not the store's, and insecure_listen if the node is to be protected by keys
// and there are none.
func (n *Node) openKeys(ctx context.Context) (err error) {
	config := keys.Config{Store: n.store, Commits: n.store, Node: n.config.Node, Logger: n.logger}
	if n.ring != nil {
		config.Commits = n.ring.router
	}
	if n.keys, err = keys.New(ctx, config); err != nil {
		return err
	}
	if err := n.acceptAdminKey(ctx); err != nil {
		return err
	}
	return n.config.checkKeys(ctx, n.keys.Protected())
}

// adminKey returns the key in the file Admin.KeyFile; "" if none is configured. The error is
// invalid_config.
func (c *Config) adminKey() (string, error) {
	if c.Admin.KeyFile == "" {
		return "", nil
	}
	text, err := secret.Read(c.Admin.KeyFile, maxAdminKeyFile)
	if err != nil {
		return "", core.Errorf(core.CodeInvalidConfig, "admin-key-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if !keys.IsToken(token) {
		return "", core.Errorf(core.CodeInvalidConfig, "admin-key-file: %s is no file with one key; make it with: gyre auth key new --out FILE", c.Admin.KeyFile)
	}
	return token, nil
}

// acceptAdminKey has the store take the admin's key of the configuration. In a ring every node
// may do so at once.
func (n *Node) acceptAdminKey(ctx context.Context) error {
	token, err := n.config.adminKey()
	if err != nil || token == "" {
		return err
	}
	if n.ring != nil {
		if err := n.untilWritable(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(access.With(ctx, access.Node(n.config.Node)), acceptTimeout)
	defer cancel()
	err = n.keys.Accept(ctx, token, "admin-key-file")
	if errors.Is(err, core.CodeKeysExist) {
		return core.Errorf(core.CodeInvalidConfig, "admin-key-file: %s; put the key of an admin into %s, or leave admin-key-file out (gyre auth init --lost makes another admin's key)", core.AsError(err).Detail, n.config.Admin.KeyFile)
	}
	return err
}

// untilWritable waits until the ring serves, as below quorum no key can be written; or until
// another node has written the first one.
func (n *Node) untilWritable(ctx context.Context) error {
	for said := ""; !n.keys.Protected(); {
		s := n.ring.membership.State()
		why := s.Serves(time.Now())
		if why == nil {
			return nil
		}
		if said != why.Detail { // there is another State with each beat
			said = why.Detail
			n.logger.LogAttrs(ctx, slog.LevelInfo, "the first key waits for the ring", slog.String("why", said))
		}
		select {
		case <-s.Changed:
		case err := <-n.failed:
			return err
		case <-ctx.Done():
			return core.AsError(ctx.Err())
		}
	}
	return nil
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
func (a audit) Record(ctx context.Context, act wsapi.Act) error {
	if !a.keys.Protected() {
		return nil
	}
	return a.keys.Record(ctx, act.Kind, keys.Act{Target: act.Target, Outcome: act.Outcome, Detail: act.Detail})
}
