package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/runtime"
)

// stopWithin bounds the time to finish running requests.
const stopWithin = 8 * time.Second

const serveHelp = `Run a node until it gets SIGINT or SIGTERM. It then finishes running requests and exits with
0; a second signal ends it at once. Acknowledged events are on disk either way.

Every flag can also be set in the environment (GYRE_LISTEN, GYRE_ALLOW_HOST, …) and, under
the flag's name, in the YAML file of --config:

  listen: 127.0.0.1:4973
  data: /var/lib/gyre
  log-level: warn
  allow-host: [events.internal]

A flag overrides the environment, the environment overrides the file. A variable that is empty
counts as not set.

With --postgres the node keeps everything in a PostgreSQL database, in the schema that --store
names, and nothing in --data. Put a password into GYRE_POSTGRES, PGPASSWORD or ~/.pgpass:
everybody who can list the machine's processes sees the flags. At start, the node waits up to
--postgres-wait for a server that cannot be reached. A running node never exits because of the
database.

A service manager that sets NOTIFY_SOCKET, as systemd does for Type=notify, is notified when the
node serves and when it stops.

With --cluster the node is a member of the ring of all nodes that share the store. They find
each other through PostgreSQL, and by each --peers flag that is set. Each stream and each
subscription has one owner node, and every node takes every call. Fewer members than --quorum
serve nothing: calls wait until there is quorum, or until their deadline.
"gyre cluster --help" shows a ring.

With --sync-nodes-timeout the node waits for --sync-nodes-mandatory and --sync-nodes-optional
before it serves, and goes on as soon as all are up. At the timeout it goes on without optional
nodes; if a mandatory one is missing, it ends with exit code 6. Nodes that --node-deny matches,
or --node-allow does not, take calls and own nothing.`

// serveFlags are the flags of gyre serve.
type serveFlags struct {
	node     runtime.Config
	database databaseFlags
	logLevel slog.Level
	config   string
	hasData  bool // --data was set, by whatever means
}

func newServe(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long:  serveHelp,
		Example: `  gyre serve
  gyre serve --engine memory --listen 127.0.0.1:0
  gyre serve --postgres postgres://gyre@db.internal/shop
  gyre serve --cluster --postgres postgres://gyre@db.internal/shop
  gyre serve --config gyre.yaml`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.settle(a, cmd); err != nil {
				return err
			}
			return a.serve(cmd.Context(), f)
		},
	}
	f.register(cmd)
	for flag, values := range map[string][]string{
		"on-no-quorum": {runtime.NoQuorumBlock, runtime.NoQuorumError}, "sync-nodes-timeout": {noSyncLimit, "30000"},
		"sync-nodes-mandatory": nil, "sync-nodes-optional": nil, "node-allow": nil, "node-deny": nil,
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // registerRing makes the flags
		}
	}
	return cmd
}

func (f *serveFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.node.Listen, "listen", runtime.DefaultListen, "host:port to serve on")
	flags.StringVar(&f.node.Data, "data", runtime.DefaultData, "directory of the data")
	flags.StringVar(&f.node.Engine, "engine", "", "disk, memory (nothing is kept) or postgres (default disk, or postgres with --postgres)")
	f.database.register(cmd)
	flags.BoolVar(&f.database.migrate, "migrate", true, "update the store's schema first; false refuses a schema that is not up to date")
	flags.IntVar(&f.database.config.ReadConns, "postgres-conns", defaultReadConns, "connections for reads; commits have 3 more, the session 1")
	flags.DurationVar(&f.database.config.CallTimeout, "postgres-timeout", defaultCallTimeout, "timeout of one answer of PostgreSQL")
	flags.DurationVar(&f.node.PostgresWait, "postgres-wait", runtime.DefaultPostgresWait, "how long to wait at start for a PostgreSQL that cannot be reached, or a store that another node has")
	flags.StringVar(&f.node.Node, "node", "", "id of the node, unique in its ring (default its address, with the machine's name for a loopback host)")
	registerRing(flags, &f.node.Ring)
	flags.Var(&levelFlag{&f.logLevel}, "log-level", "debug, info, warn or error")
	flags.StringVar(&f.config, "config", "", "YAML file with these flags")
	registerTLS(flags, &f.node.TLS)
	flags.BoolVar(&f.node.Insecure, "insecure", false, "allow addresses that other machines reach without keys and TLS, on a network that you trust")
	flags.StringVar(&f.node.Admin.Listen, "admin-listen", "", "host:port of a listener of its own for /metrics and /debug/pprof (default /metrics at --listen, and no profiles)")
	flags.StringVar(&f.node.Admin.KeyFile, "admin-key-file", "", "file with the key of an admin, which nobody else may read: the first key of a store that has none (gyre auth key new makes it)")
	flags.BoolVar(&f.node.Admin.MetricsOpen, "metrics-open", false, "give /metrics to everybody, without a key")
	flags.StringSliceVar(&f.node.AllowHosts, "allow-host", nil, "another host name that requests may use (repeat)")
	flags.StringSliceVar(&f.node.AllowOrigins, "allow-origin", nil, "origin whose web pages may call the node (repeat)")
	flags.IntVar(&f.node.Load.MaxConnectionsPerAddress, "max-connections-per-address", runtime.DefaultMaxConnectionsPerAddress, "most connections of one IP address, or of one IPv6 /64; loopback has 32 times as many")
	flags.DurationVar(&f.node.Load.TargetLatency, "target-latency", runtime.DefaultTargetLatency, "how long most appends and reads may take before the node takes fewer at once and refuses more as overloaded; more for storage that is slow by nature")
	flags.Var((*sizeFlag)(&f.node.Load.ConnectionMemory), "connection-memory", "most memory for what waits to be read or written on all connections, such as 256MiB (default a quarter of GOMEMLIMIT, or of the machine's memory)")
	flags.BoolVar(&f.node.HardDeletes, "hard-deletes", false, "let clients remove the events of streams for good (gyre streams delete --hard, --tombstone)")
	flags.StringVar(&f.node.Plugins.Cache, "plugin-cache", "", "directory of compiled plugins, of this node alone (default plugins-cache in --data, or in the user's cache directory)")
	flags.BoolVar(&f.node.Plugins.Disabled, "no-plugins", false, "run no plugins, and take none")
	flags.StringVar(&f.node.Plugins.SecretsFile, "plugin-secrets-file", "", "YAML or JSON file with the secrets that plugins may be granted, which nobody else may read; it may change")
	addSegmentBytes(flags, &f.node.SegmentBytes)
}

// registerTLS adds the flags of a node that serves TLS.
func registerTLS(flags *pflag.FlagSet, t *runtime.TLSConfig) {
	flags.StringVar(&t.Cert, "tls-cert", "", "serve TLS with this certificate, a PEM file that may change; with --tls-key")
	flags.StringVar(&t.Key, "tls-key", "", "file of the certificate's key, which nobody else may read")
	flags.StringVar(&t.ClientCA, "tls-client-ca", "", "take only clients and nodes that have a certificate of the CAs in this file")
	flags.StringVar(&t.CA, "tls-ca", "", "file of the CAs of the other nodes' certificates (default that of --tls-client-ca, else the machine's)")
	flags.BoolVar(&t.Plaintext, "insecure-plaintext", false, "allow --listen on an address that other machines reach without TLS, as behind a proxy")
}

// registerRing adds the flags of a node of a ring.
func registerRing(flags *pflag.FlagSet, r *runtime.RingConfig) {
	flags.BoolVar(&r.Enabled, "cluster", false, "be a member of the ring of nodes that share the PostgreSQL store")
	flags.StringVar(&r.Name, "cluster-name", "", "name of the ring (default "+runtime.DefaultRingName+")")
	flags.IntVar(&r.Quorum, "quorum", 0, "how many members must be alive for any to serve (default the majority of this node and --peers, else 2)")
	flags.StringSliceVar(&r.Peers, "peers", nil, "gossip addresses, host:port, of other nodes (repeat; more are found in PostgreSQL)")
	flags.StringSliceVar(&r.SyncMandatory, "sync-nodes-mandatory", nil, "nodes that must be up before this one serves: ID or ID=HOST:PORT of its gossip (repeat)")
	flags.StringSliceVar(&r.SyncOptional, "sync-nodes-optional", nil, "nodes to wait for as well, but not after --sync-nodes-timeout (repeat)")
	flags.Var((*syncTimeoutFlag)(&r.SyncTimeout), "sync-nodes-timeout", "how long to wait for them at start, in milliseconds, or infinity (default no wait)")
	flags.StringArrayVar(&r.NodeAllow, "node-allow", nil, "only nodes whose id is PATTERN, or matches it as /REGEXP/, may be members (repeat)")
	flags.StringArrayVar(&r.NodeDeny, "node-deny", nil, "nodes whose id is PATTERN, or matches it as /REGEXP/, are entry nodes, unless allowed (repeat)")
	flags.StringVar(&r.PeersFile, "peers-file", "", "file with gossip addresses of other nodes, HOST or HOST:PORT, that may change")
	flags.StringVar(&r.PeersDNS, "peers-dns", "", "name whose addresses, or SRV records if it begins with _, are those of the nodes")
	flags.BoolVar(&r.PeersMulticast, "peers-multicast", false, "find other nodes of the same network by beacons, which the ring's key proves")
	flags.StringVar(&r.PeersMulticastGroup, "peers-multicast-group", "", "IPv4 multicast group, IP:PORT, of the beacons (default "+runtime.DefaultMulticastGroup+")")
	flags.StringVar(&r.PeersExec, "peers-exec", "", "command that prints gossip addresses of other nodes, run every 10 seconds")
	flags.StringVar(&r.Gossip, "gossip", "", "host:port of this node's gossip, UDP and TCP (default the host of --listen, port "+runtime.DefaultGossipPort+")")
	flags.StringVar(&r.Advertise, "advertise", "", "host or host:port that nodes and clients dial (default the address of --listen)")
	flags.StringVar(&r.KeyFile, "cluster-key-file", "", "file with the ring's key, which nobody else may read: it encrypts gossip and proves nodes to each other; required beyond loopback")
	flags.StringVar(&r.OnNoQuorum, "on-no-quorum", "", "what calls do below quorum: block or error (default block)")
}

// addSegmentBytes adds a flag for tests.
func addSegmentBytes(flags *pflag.FlagSet, n *int64) {
	flags.Int64Var(n, "segment-bytes", 0, "size of a log file; for tests")
	if err := flags.MarkHidden("segment-bytes"); err != nil {
		panic(err) // the line above makes the flag
	}
}

// settle makes the configuration of the node complete.
func (f *serveFlags) settle(a *app, cmd *cobra.Command) error {
	if err := a.settings(cmd); err != nil {
		return err
	}
	if err := refuseEmpty(cmd.Flags()); err != nil {
		return err
	}
	f.node.Postgres = f.database.config
	f.node.Postgres.NoMigrate = !f.database.migrate
	f.hasData = cmd.Flags().Changed("data")
	f.node.Admin.Settings = a.inEffect(cmd)
	return nil
}

// refuseEmpty refuses settings that are given, and say nothing. They would mean
// the default, which is not what somebody wants who gives one.
func refuseEmpty(flags *pflag.FlagSet) error {
	for name, empty := range map[string]string{
		"node": "", "cluster-name": "", "gossip": "", "advertise": "", "cluster-key-file": "", "on-no-quorum": "", "quorum": "0",
		"max-connections-per-address": "0", "peers-file": "", "peers-dns": "", "peers-multicast-group": "", "peers-exec": "",
		"tls-cert": "", "tls-key": "", "tls-client-ca": "", "tls-ca": "", "admin-listen": "", "admin-key-file": "", "plugin-secrets-file": "",
	} {
		if f := flags.Lookup(name); f.Changed && f.Value.String() == empty {
			err := core.Errorf(core.CodeInvalidConfig, "--%s is %q, which says nothing", name, empty)
			if name == "quorum" {
				return &advised{err, "--quorum 2, or leave it out: the default is the majority of this node and --peers, else 2."}
			}
			return &advised{err, fmt.Sprintf("Give --%s a value, or leave it out for its default; gyre serve --help has it.", name)}
		}
	}
	return nil
}

// serve runs a node until ctx ends.
func (a *app) serve(ctx context.Context, f serveFlags) error {
	runtime.TuneProcess()
	f.node.Version = version
	f.node.Logger = newLogger(a.stderr, f.logLevel)
	opening := a.newOpening(f.node.Logger)
	f.node.Progress = opening.show
	node, err := runtime.Start(ctx, f.node)
	opening.finish()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &advised{err, "Another node or program listens there; stop it, or choose another address with --listen."}
	case errors.Is(err, core.CodeInsecureListen) && (f.node.TLS.Cert != "" || f.node.TLS.Plaintext):
		return &advised{err, adviseOnFirstKey(f)}
	case err != nil && f.node.Postgres.URL != "":
		return adviseOnDatabase(err)
	case err != nil:
		return err
	}
	fmt.Fprint(a.stderr, banner(a.program, node, f))
	logger := node.Logger()
	a.notify(logger, notifyReady)
	var failed error
	select {
	case <-ctx.Done():
		logger.LogAttrs(ctx, slog.LevelInfo, "stopping", slog.Any("reason", context.Cause(ctx)))
		fmt.Fprintln(a.stderr, "Stopping; a second signal ends the process at once.")
	case failed = <-node.Failed():
	case <-node.Left():
		logger.LogAttrs(ctx, slog.LevelInfo, "stopping", slog.String("reason", "the node was told to leave its ring"))
	}
	// The work's context has ended; finishing has a deadline of its own.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	a.notify(logger, notifyStopping)
	if err := node.Close(stopping); err != nil {
		logger.LogAttrs(stopping, slog.LevelError, "close", slog.Any("error", err))
		return core.Errorf(core.CodeInternal, "close: %w", err)
	}
	return failed
}

// opening shows how far a node is with opening its log, if that takes long enough for
// someone to wonder: a bar on a terminal, else a line of the log now and then.
type opening struct {
	app     *app
	logger  *slog.Logger
	bar     *meter    // from noticeable on, on a terminal
	nextLog time.Time // elsewhere
	began   time.Time
}

// noticeable is after how long an opening shows its progress.
const noticeable = time.Second

func (a *app) newOpening(logger *slog.Logger) *opening {
	now := time.Now()
	return &opening{app: a, logger: logger, began: now, nextLog: now.Add(plainEvery)}
}

// show is called with bytes of the log.
func (o *opening) show(done, total int64) {
	switch {
	case done == total:
		o.finish() // before the log says more
	case !isTerminal(o.app.stderr):
		if now := time.Now(); !now.Before(o.nextLog) {
			o.nextLog = now.Add(plainEvery)
			o.logger.Info("opening the log", "doneBytes", done, "totalBytes", total)
		}
	case time.Since(o.began) >= noticeable:
		if o.bar == nil {
			o.bar = o.app.newMeter("opening the log", total)
		}
		o.bar.show(done, fmt.Sprintf("%s of %s", byteCount(done), byteCount(total)))
	}
}

// finish takes the bar away. It may be called more than once.
func (o *opening) finish() {
	if o.bar != nil {
		o.bar.finish()
	}
}

// newLogger logs text for a person, else JSON.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// banner says what runs and what to do with it.
func banner(gyre string, node *runtime.Node, f serveFlags) string {
	c := f.node
	url := node.URL()
	at, curl := "", "curl -s"
	if node.Addr() != runtime.DefaultListen || c.TLS.Cert != "" {
		at = " --server " + strings.TrimPrefix(url, "http://")
	}
	if c.TLS.Cert != "" && c.TLS.CA != "" {
		at += " --tls-ca " + c.TLS.CA
		curl += " --cacert " + c.TLS.CA
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nGyre %s\n", c.Version)
	b.WriteString(whereKept(f))
	ring, inRing := node.Ring()
	if inRing {
		fmt.Fprintf(&b, "  ring       %s, as %s, with a quorum of %d\n", ring.Name, ring.Node, ring.Quorum)
		fmt.Fprintf(&b, "  reached    at %s, gossip at %s\n", ring.Advertised, ring.Gossip)
	}
	fmt.Fprintf(&b, "  HTTP       %s\n", url)
	fmt.Fprintf(&b, "  WebSocket  %s/v1/ws\n", strings.Replace(url, "http", "ws", 1))
	scheme, host, _ := strings.Cut(url, "://")
	if admin := node.AdminAddr(); admin != "" {
		host = admin
	}
	fmt.Fprintf(&b, "  metrics    %s://%s/metrics\n", scheme, host)
	if c.Insecure {
		b.WriteString("  INSECURE   without a key in the store, whoever reaches this address may read and write everything\n")
	}
	if c.TLS.Plaintext {
		b.WriteString("  PLAINTEXT  keys and events cross the network unencrypted, up to the proxy\n")
	}
	b.WriteString("\nTry, in another terminal:\n")
	fmt.Fprintf(&b, "  %s append order-1 OrderPlaced '{\"total\":10}'%s\n", gyre, at)
	fmt.Fprintf(&b, "  %s tail '$all' --from start%s\n", gyre, at)
	fmt.Fprintf(&b, "  %s %s/v1/streams/order-1/events\n", curl, url)
	if inRing {
		fmt.Fprintf(&b, "  %s cluster status%s\n", gyre, at)
	}
	b.WriteString("\n")
	return b.String()
}

// whereKept says where the events are.
func whereKept(f serveFlags) string {
	data := f.node.Data
	if abs, err := filepath.Abs(data); err == nil {
		data = abs
	}
	if f.node.Postgres.URL != "" {
		target, err := f.node.Postgres.Target()
		if err != nil {
			return "" // it was checked before
		}
		text := fmt.Sprintf("  database   %s\n  store      %s\n", target, target.Store)
		if f.hasData {
			text += fmt.Sprintf("  data       %s is not used: everything is in the database\n", data)
		}
		return text
	}
	if f.node.Engine == runtime.EngineMemory {
		data = "in memory: gone when the node stops"
	}
	return fmt.Sprintf("  data       %s\n", data)
}

// levelFlag makes a slog.Level a flag.
type levelFlag struct{ level *slog.Level }

func (f *levelFlag) Set(s string) error { return f.level.UnmarshalText([]byte(s)) }
func (f *levelFlag) String() string {
	if f.level == nil {
		return ""
	}
	return strings.ToLower(f.level.String())
}
func (f *levelFlag) Type() string { return "level" }

// syncTimeoutFlag is how long to wait for other nodes.
type syncTimeoutFlag time.Duration

// noSyncLimit is what stands for a wait without an end.
const noSyncLimit = "infinity"

func (f *syncTimeoutFlag) Set(s string) error {
	if s == noSyncLimit {
		*f = syncTimeoutFlag(ring.SyncForever)
		return nil
	}
	const most = uint64(math.MaxInt64 / int64(time.Millisecond))
	ms, err := strconv.ParseUint(s, 10, 64)
	if err != nil || ms == 0 || ms >= most {
		return fmt.Errorf("%q is not a number of milliseconds from 1 on, nor %s; leave it unset for no wait", s, noSyncLimit)
	}
	*f = syncTimeoutFlag(time.Duration(ms) * time.Millisecond)
	return nil
}

func (f *syncTimeoutFlag) String() string {
	switch time.Duration(*f) {
	case 0:
		return ""
	case ring.SyncForever:
		return noSyncLimit
	}
	return strconv.FormatInt(time.Duration(*f).Milliseconds(), 10)
}
func (f *syncTimeoutFlag) Type() string { return "milliseconds" }

// sizeFlag is a number of bytes, with a unit as GOMEMLIMIT has it.
type sizeFlag int64

func (f *sizeFlag) Set(s string) error {
	digits, shift := s, 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 62-shift)
	if err != nil {
		return fmt.Errorf("%q is not a size, such as 256MiB", s)
	}
	*f = sizeFlag(n << shift)
	return nil
}

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*f), 10)
}
func (f *sizeFlag) Type() string { return "size" }
