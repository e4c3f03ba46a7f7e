package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/api"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/plugins/judge"
	"github.com/gyre-events/gyre/plugins/output"
	"github.com/gyre-events/gyre/plugins/outside"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/validators"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/wsapi"
)

// PluginConfig says whether and how a node runs plugins.
type PluginConfig struct {
	// Disabled has the node run and take no plugins.
	Disabled bool
	// Cache is the directory of compiled plugins, which belongs to the node alone. The
	// default is plugins-cache in the directory of the data. A node with PostgreSQL has
	// one of its own under the user's cache directory, and a node in memory a temporary one.
	Cache string
	// Compile is the command that compiles a plugin, which gets a directory as its last
	// argument and calls wasm.RunCompiler. The default is this program, with the argument
	// plugin-compile.
	Compile []string
	// SecretsFile has the secrets that bindings may be granted: a YAML or JSON object of texts
	// by their names, which only the user may read. It is read again when it changes.
	SecretsFile string
}

// Plugins are what a node runs plugins with.
type Plugins struct {
	Versions   *registry.Registry
	Bindings   *host.Host
	Validators *validators.Validators
	Output     *output.Outputs
	beyond     *beyond
}

// pluginStore is what versions and logs are kept in. In a ring, commits is the Router, which
// makes Commits under the epoch of the view.
type pluginStore struct {
	*core.Store
	commits interface {
		Append(ctx context.Context, c core.Commit) (core.Result, error)
	}
}

// Append is core.Store.Append.
func (s pluginStore) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	return s.commits.Append(ctx, c)
}

// openPlugins opens what runs plugins. The store and the subscriptions are open.
func (n *Node) openPlugins(ctx context.Context) error {
	c := n.config.Plugins
	store := pluginStore{n.store, n.store}
	if n.ring != nil {
		store.commits = n.ring.router
	}
	if c.Disabled { // what validators would judge is not let through
		return n.validators.Open(ctx, validators.Config{Store: store, Logger: n.logger})
	}
	if len(c.Compile) == 0 {
		program, err := os.Executable()
		if err != nil {
			return err
		}
		c.Compile = []string{program, "plugin-compile"}
	}
	var owned subscriptions.Store = n.store
	if n.ring != nil {
		owned = n.ring.hosting.Store()
	}
	p := &Plugins{}
	secrets, err := c.openSecrets(n.logger)
	if err != nil {
		return err
	}
	p.beyond = &beyond{outside.NewClient(nil), secrets}
	p.Versions, err = registry.New(registry.Config{Store: store, CacheDir: n.pluginCache(), Command: c.Compile, Uses: n.uses, Logger: n.logger})
	if err != nil {
		return err
	}
	n.judges.of.Store(judge.NewJudges(p.Versions, n.logger))
	p.Output = output.New(store, n.logger)
	p.Validators = n.validators
	err = p.Validators.Open(ctx, validators.Config{ // before a lane appends
		Store: store, Code: p.Versions, Ended: p.Output.Ended, Logger: n.logger,
		Output: func(b *plugins.Binding, lane int) plugins.Output { return p.Output.Lane(b, lane) },
	})
	if err != nil {
		return errors.Join(err, p.Output.Close(context.Background()), p.Versions.Close())
	}
	p.Bindings, err = host.New(host.Config{
		Store: owned, Subscriptions: n.subs, Programs: p.Versions, Versions: p.Versions, Logger: n.logger,
		Output: func(b *plugins.Binding, lane int) host.Output { return p.Output.Lane(b, lane) },
		Ended:  p.Output.Ended, Outside: p.beyond,
	})
	if err != nil {
		return errors.Join(err, p.Validators.Close(context.Background()), p.Output.Close(context.Background()), p.Versions.Close())
	}
	n.plugins = p
	if n.ring != nil {
		n.watching.Go(func() { n.watchOwners(p.Bindings) })
	}
	return nil
}

// pluginCache is the directory of compiled plugins; a temporary one if it is empty.
func (n *Node) pluginCache() string {
	switch {
	case n.config.Plugins.Cache != "":
		return n.config.Plugins.Cache
	case n.config.Engine == EngineDisk:
		return filepath.Join(n.config.Data, "plugins-cache")
	case n.config.Engine == EngineMemory:
		return ""
	}
	shared, err := os.UserCacheDir()
	if err != nil { // a service may have no home
		return ""
	}
	// Nodes of one machine share no code: each sweeps its own directory.
	name := sha256.Sum256([]byte(n.store.State().Log + "\n" + n.config.Node))
	return filepath.Join(shared, "gyre", "plugins", hex.EncodeToString(name[:8]))
}

// uses is registry.Config.Uses.
func (n *Node) uses(ctx context.Context, plugin, version string) (names []string, err error) {
	for _, of := range []func(ctx context.Context, plugin, version string) ([]string, error){n.plugins.Bindings.Uses, n.plugins.Validators.Uses} {
		more, err := of(ctx, plugin, version)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	definitions, err := n.subs.Uses(ctx, plugin, version)
	for _, name := range definitions {
		names = append(names, "subscription "+name)
	}
	return names, err
}

// Plugins are those of the node, for users in the same process; nil if it runs none. They end
// with the node.
func (n *Node) Plugins() *Plugins { return n.plugins }

// servePlugins has the API serve plugins, or say that the node runs none. Where none can run,
// uploads are refused with the reason, and the feature is not listed.
func (n *Node) servePlugins(c *wsapi.Config) {
	p := n.plugins
	if p == nil {
		c.Extensions = append(c.Extensions, api.None())
		return
	}
	e := api.New(api.Config{Bindings: p.Bindings, Validators: p.Validators, Registry: p.Versions, Logs: p.Output, Owners: c.Owners})
	if wasm.Supported() != nil {
		e.Feature = ""
	}
	c.Extensions = append(c.Extensions, e)
	c.Registry.MustRegister(p.Output, newPluginMetrics(n.seen.bindings), newSecretMetrics(p.beyond.secrets), newValidatorMetrics(p.Validators), newJudgeMetrics(&n.judges))
	c.Registry.MustRegister(watchMetrics(p.Bindings.Watches)...)
}

// watchOwners has the host look for bindings whenever subscriptions may have come to this node.
func (n *Node) watchOwners(h *host.Host) {
	for {
		s := n.ring.membership.State()
		h.Look()
		select {
		case <-s.Changed:
		case <-n.stopping:
			return
		}
	}
}

// close ends bindings: none runs any more, and what they have logged is stored.
func (p *Plugins) close(ctx context.Context) error {
	if p == nil {
		return nil
	}
	defer p.beyond.Close()
	return errors.Join(p.Bindings.Close(ctx), p.Validators.Close(ctx), p.Output.Close(ctx))
}

// closeVersions ends the rest, after what runs versions has ended.
func (p *Plugins) closeVersions() error {
	if p == nil {
		return nil
	}
	return p.Versions.Close()
}
