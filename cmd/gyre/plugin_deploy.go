package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const deployHelp = `Put a plugin to work, or change how it works. The plugin is a directory, which is built first; a
module, FILE.wasm; or a version that was uploaded, NAME@VERSION. The version is uploaded if the
node does not have it, and deployed under the name of the plugin, or that of --binding.

A new binding handles the events that the manifest says, from the start; --stream, --types,
--streams, --where, --filter-plugin, --map, --partition-by, --from and --lanes say otherwise. They
cannot change later. A binding that exists goes on with the new version, grants, config or limits after the batch
that it is handling; what is not given stays as it is.

A plugin may do what it is granted, and nothing else. On a terminal, what the manifest asks for
is shown and asked about. Otherwise, and with --yes, it is granted; but http: and secret: have to
be named with --grant. A --grant of append: or streams.read: replaces what is asked of that kind.

A plugin of kind validate becomes a validator: it judges appends to --streams, of --types if they
are given, before they are written. --then accept lets through what it fails on.`

// deployment is what a deploy is asked for.
type deployment struct {
	binding, manifest, config, limits string
	grants                            []string
	yes, loops, missingSecrets        bool
	lanes, attempts                   int
	then                              string
	input                             struct {
		stream, where, partitionBy, from string
		filterPlugin, mapTo              string
		types, streams                   []string
	}
	changed func(flag string) bool
}

func newPluginDeploy(a *app) *cobra.Command {
	var d deployment
	cmd := &cobra.Command{
		Use:   "deploy [DIR|FILE.wasm|NAME@VERSION]",
		Short: "Put a plugin to work, or change how it works",
		Long:  deployHelp,
		Example: `  gyre plugin deploy
  gyre plugin deploy counter.wasm --types 'Order*' --lanes 4 --partition-by stream
  gyre plugin deploy counter@0.1.0 --config '{"threshold":50}'
  gyre plugin deploy notifier --binding notifier-eu --grant secret:API_KEY`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.changed = cmd.Flags().Changed
			return a.deploy(cmd.Context(), strings.Join(args, ""), &d)
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.binding, "binding", "", "the name to deploy under (default that of the plugin)")
	f.StringArrayVar(&d.grants, "grant", nil, "let the plugin do this: append:PATTERN, state, streams.read:PATTERN, http:HOST:PORT, http:HOST:PORT/private or secret:NAME")
	f.StringVar(&d.config, "config", "", "the plugin's config: a JSON object, or a file that has one")
	f.StringVar(&d.limits, "limits", "", "its limits: a JSON object, or a file that has one")
	f.StringVar(&d.manifest, "manifest", "", "file with the manifest of a module that has none in it")
	f.BoolVar(&d.yes, "yes", false, "do not ask")
	f.BoolVar(&d.loops, "allow-loops", false, "let it handle events that it has appended")
	f.BoolVar(&d.missingSecrets, "allow-missing-secrets", false, "deploy also if the node that runs it lacks a secret that is granted")
	f.IntVar(&d.attempts, "max-attempts", plugins.DefaultErrorPolicy().Attempts, "after how many attempts an event is given up")
	f.StringVar(&d.then, "then", string(plugins.ThenPark), "what to do with an event that is given up: park or stop; with an append that a validator fails on: refuse or accept")
	f.IntVar(&d.lanes, "lanes", 0, "how many events are handled at once, by partition key (default what the manifest says)")
	f.StringVar(&d.input.stream, "stream", "", "the stream whose events it handles")
	f.StringSliceVar(&d.input.types, "types", nil, "only events of these types")
	f.StringSliceVar(&d.input.streams, "streams", nil, "only events of these streams")
	f.StringVar(&d.input.where, "where", "", "only events for which this expression is true")
	f.StringVar(&d.input.filterPlugin, "filter-plugin", "", "only events that this filter keeps: NAME@VERSION of a plugin")
	f.StringVar(&d.input.mapTo, "map", "", "fields of the data to handle, or expr:EXPRESSION or plugin:NAME@VERSION for the data itself")
	f.StringVar(&d.input.partitionBy, "partition-by", "", "what keeps its order: stream, correlation_id, metadata:NAME, expr:EXPRESSION or plugin:NAME@VERSION")
	f.StringVar(&d.input.from, "from", "", "where it begins: start, end, N, a time or a cursor")
	return a.talks(cmd)
}

// deploy builds, uploads and deploys.
func (a *app) deploy(ctx context.Context, what string, d *deployment) error {
	return a.withClient(ctx, func(client *sdk.Client) error {
		all := client.Plugins()
		v, err := a.deployedVersion(ctx, all, what, d.manifest, d.grants)
		if err != nil {
			return err
		}
		if d.binding == "" {
			d.binding = v.Plugin
		}
		ctx, cancel := context.WithTimeout(ctx, max(a.timeout, deployTimeout))
		defer cancel()
		old, err := all.Status(ctx, d.binding)
		is := &old.Binding
		if errors.Is(err, core.CodeBindingNotFound) {
			is, err = nil, nil
		}
		if err != nil {
			return err
		}
		order, err := d.order(&v, is)
		if err != nil {
			return err
		}
		if order.Grants, err = a.grants(d, &v.Manifest, is); err != nil {
			return err
		}
		s, err := all.Deploy(ctx, d.binding, order)
		flag := judgeFlags[v.Manifest.Kind]
		switch {
		case err != nil && flag != "" && errors.Is(err, core.CodeInvalidRequest):
			return &advised{err, fmt.Sprintf("gyre subscriptions create NAME %s%s@%s", flag, v.Plugin, v.Version)}
		case err != nil:
			return a.late(ctx, err)
		}
		a.tellUnused(d, &v, &s)
		return a.printDeployed(s)
	})
}

// judgeFlags are those of a subscription that name a plugin of a kind which is not deployed.
var judgeFlags = map[plugins.Kind]string{
	plugins.KindFilter:    "--filter-plugin ",
	plugins.KindMap:       "--map plugin:",
	plugins.KindPartition: "--partition-by plugin:",
}

// tellUnused says that a deploy has not put the config of the manifest to work, if the binding has
// another one.
func (a *app) tellUnused(d *deployment, v *plugins.Version, s *plugins.Status) {
	if config := v.Manifest.Config; d.config == "" && len(config) > 0 && !sameJSON(config, s.Config) {
		fmt.Fprintf(a.stderr, "The config of %s stays %s. The manifest has %s: --config sets it.\n", cell(s.Name, maxNameCell), cell(string(s.Config), dataWidth), cell(string(config), dataWidth))
	}
}

// sameJSON reports whether two texts are the same JSON.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// deployTimeout is the least that a deploy waits: the module is compiled where it is to run.
const deployTimeout = time.Minute

// printDeployed prints what runs now, and on a terminal what to try next.
func (a *app) printDeployed(s plugins.Status) error {
	if s.Kind == plugins.KindValidate {
		return a.printValidator(s)
	}
	err := printOne(a, s, func(s plugins.Status) string {
		return fmt.Sprintf("deployed %s %s as %s: %s, %s over %s, grants %s", cell(s.Plugin, maxNameCell), cell(s.Version, maxNameCell),
			cell(s.Name, maxNameCell), stateWords(&s), lanesWords(s.Lanes), inputWords(&s.Input), grantWords(s.Grants))
	})
	if s.AtLeastOnce {
		fmt.Fprintln(a.stderr, "It may call other servers: such a call is made at least once, with the same Idempotency-Key each time.")
	}
	if len(s.MissingSecrets) > 0 {
		fmt.Fprintf(a.stderr, "Warning: the node lacks %s: reads of it are answered with not found, until it is in the file of --plugin-secrets-file\n", cell(strings.Join(s.MissingSecrets, ", "), dataWidth))
	}
	name := shellQuote(s.Name)
	a.warnOfGrants(&s)
	fmt.Fprintf(a.stderr, "Try: %[1]s plugin info %[2]s, %[1]s plugin state %[2]s, or %[1]s plugin logs %[2]s -f\n", a.program, name)
	return err
}

// warnOfGrants says what a deploy leaves as it is although its grants might be taken to change it.
func (a *app) warnOfGrants(s *plugins.Status) {
	isSecret := func(grant string) bool { return strings.HasPrefix(grant, string(plugins.CanReadSecret)+":") }
	if slices.ContainsFunc(s.Grants, isSecret) {
		fmt.Fprintln(a.stderr, "It may read secrets: they are masked in its log and failures, and not in what it appends, keeps in its state or sends.")
	}
	if len(s.FormerGrants) > 0 {
		fmt.Fprintf(a.stderr, "It was granted %s before, and keeps the state and the log that it made with that; %s plugin rebuild %s makes the state anew.\n",
			listWords(s.FormerGrants), a.program, shellQuote(s.Name))
	}
}

func lanesWords(n int) string { return howMany(n, "lane", "lanes") }

func grantWords(grants []string) string {
	if len(grants) == 0 {
		return "nothing"
	}
	return cell(strings.Join(grants, ", "), dataWidth)
}

// order makes the request of a deploy, without the grants. is is the binding as it is, nil if it
// is new.
func (d *deployment) order(v *plugins.Version, is *plugins.Binding) (plugins.Deploy, error) {
	order := plugins.Deploy{Plugin: v.Plugin, Version: v.Version, Lanes: d.lanes, AllowMissingSecrets: d.missingSecrets}
	input := v.Manifest.Subscription
	if is != nil {
		input = is.Input
	}
	changed, err := d.changeInput(&input)
	if err != nil {
		return order, err
	}
	if v.Manifest.Kind == plugins.KindValidate {
		d.changePatterns(&input)
	}
	if changed {
		order.Input = &input
	}
	if d.changed("allow-loops") {
		order.AllowLoops = &d.loops
	}
	if order.OnError, err = d.policy(v.Manifest.Kind, is); err != nil {
		return order, err
	}
	if order.Config, err = jsonOf("--config", d.config); err != nil {
		return order, err
	}
	limits, err := jsonOf("--limits", d.limits)
	if err == nil && limits != nil {
		order.Limits = new(plugins.Limits)
		if err = wire.UnmarshalStrict(limits, order.Limits); err != nil {
			err = usagef(`--limits '{"timeMs":2000}'`).because("--limits: %s", core.AsError(err).Detail)
		}
	}
	return order, err
}

// policy is what is to happen to what the plugin fails on; nil leaves it as it is.
func (d *deployment) policy(kind plugins.Kind, is *plugins.Binding) (*plugins.ErrorPolicy, error) {
	policy := plugins.DefaultErrorPolicy()
	switch {
	case kind == plugins.KindValidate && d.changed("max-attempts"):
		return nil, usagef("--then accept, or --then refuse").because("--max-attempts: a validator is asked once about an append, and --then says what becomes of one that it fails on")
	case !d.changed("max-attempts") && !d.changed("then"):
		return nil, nil
	case kind == plugins.KindValidate:
		policy = plugins.ErrorPolicy{}
	case is != nil:
		policy = is.OnError
	}
	if d.changed("max-attempts") {
		policy.Attempts = d.attempts
	}
	if d.changed("then") {
		policy.Then = plugins.OnFail(d.then)
	}
	return &policy, nil
}

// changeInput applies the flags of the input, and reports whether there are any.
func (d *deployment) changeInput(input *plugins.Input) (changed bool, err error) {
	set := func(flag string, apply func()) {
		if d.changed(flag) {
			apply()
			changed = true
		}
	}
	f := &d.input
	if err := checkPluginFlags(d.changed, f.filterPlugin, f.mapTo); err != nil {
		return false, err
	}
	set("stream", func() { input.Stream = f.stream })
	set("types", func() { input.Filter.Types = f.types })
	set("streams", func() { input.Filter.Streams = f.streams })
	set("where", func() { input.Filter.Expr = f.where })
	set("filter-plugin", func() { input.Filter.Plugin = subscriptions.PluginVersion(f.filterPlugin) })
	set("map", func() { input.Map = parseMap(f.mapTo) })
	set("partition-by", func() { input.PartitionBy = f.partitionBy })
	set("from", func() {
		from, parseErr := parsePlace(f.from, streamOf(input))
		if err = parseErr; err == nil {
			input.From, err = json.Marshal(from)
		}
	})
	return changed, err
}

// jsonOf returns the value of a flag that is a JSON object, or a file that has one; nil if it is
// empty.
func jsonOf(flag, value string) (json.RawMessage, error) {
	text := []byte(strings.TrimSpace(value))
	if len(text) == 0 {
		return nil, nil
	}
	if text[0] != '{' {
		var err error
		if text, err = os.ReadFile(value); err != nil {
			return nil, usagef(`%s '{"a":1}', or the path of a file`, flag).because("%s: %v", flag, err)
		}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, usagef(`%s '{"a":1}'`, flag).because("%s: it is not a JSON object: %v", flag, err)
	}
	return text, nil
}

// deployedVersion returns the version that is to be deployed, and uploads it if the node does not
// have it. grants are what it is to be granted, whatever its manifest asks for.
func (a *app) deployedVersion(ctx context.Context, all sdk.Plugins, what, manifest string, grants []string) (plugins.Version, error) {
	if name, version, ok := strings.Cut(what, "@"); ok && !exists(what) {
		ctx, cancel := a.request(ctx)
		defer cancel()
		return all.Version(ctx, name, version)
	}
	m, err := a.moduleOf(ctx, what, manifest)
	if err != nil {
		return plugins.Version{}, err
	}
	return a.upload(ctx, all, m, grants)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// upload uploads a module, and shows how far it is.
func (a *app) upload(ctx context.Context, all sdk.Plugins, u sdk.Upload, grants []string) (plugins.Version, error) {
	type answer struct {
		v       plugins.Version
		created bool
		err     error
	}
	var sent atomic.Int64
	u.Progress = func(n int) { sent.Store(int64(n)) }
	ctx, cancel := context.WithTimeout(ctx, max(a.timeout, uploadTimeout))
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		v, created, err := all.Upload(ctx, u)
		answers <- answer{v, created, err}
	}()
	total := int64(len(u.Module))
	meter := a.newMeter("upload", total)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case r := <-answers:
			meter.finish()
			if r.err == nil {
				a.tellUploaded(&r.v, r.created, grants)
			}
			return r.v, r.err
		case <-tick.C:
			if n := sent.Load(); n < total {
				meter.show(n, comma(n)+" bytes")
			} else {
				meter.show(total, "the node verifies and compiles")
			}
		}
	}
}

const uploadTimeout = 5 * time.Minute

func (a *app) tellUploaded(v *plugins.Version, created bool, grants []string) {
	verb := "Uploaded"
	if !created {
		verb = "The node has"
	}
	fmt.Fprintf(a.stderr, "%s %s %s: %s bytes, %d functions\n", verb, cell(v.Plugin, maxNameCell), cell(v.Version, maxNameCell), comma(v.Bytes), v.Report.Functions)
	for _, w := range warningsOf(v, grants) {
		fmt.Fprintf(a.stderr, "Warning: %s\n", cell(w, maxReasonBytes))
	}
}

// warningsOf are those about a version that are true also if it is granted more than its manifest asks
// for, such as the server of its config.
func warningsOf(v *plugins.Version, grants []string) []string {
	granted := v.Manifest
	granted.Capabilities = slices.Concat(granted.Capabilities, grants)
	left, err := registry.Warnings(&granted, v.Report.Imports, v.Report.MemoryBytes)
	if err != nil { // what is wrong with the grants is said by the deploy
		return v.Report.Warnings
	}
	return slices.DeleteFunc(slices.Clone(v.Report.Warnings), func(w string) bool { return !slices.Contains(left, w) })
}
