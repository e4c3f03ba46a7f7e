package api

import (
	"context"
	"io"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/host"
	"github.com/gyre-events/gyre/plugins/output"
	"github.com/gyre-events/gyre/plugins/registry"
	"github.com/gyre-events/gyre/plugins/validators"
	"github.com/gyre-events/gyre/wsapi"
)

// Validators are the bindings of kind validate, of the node or of the ring that it is in. Its
// methods are safe for concurrent use. Of a binding that does not exist the error is
// binding_not_found. An error has changed nothing.
type Validators interface {
	// Deploy creates a binding or changes one.
	Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error)
	Status(ctx context.Context, name string) (plugins.Status, error)
	// Binding returns a binding as it is stored, at any node.
	Binding(ctx context.Context, name string) (plugins.Binding, error)
	List(ctx context.Context, r plugins.ListRequest) (plugins.BindingPage, error)
	Delete(ctx context.Context, name string) error
	Controls
}

// Bindings are those with a subscription. What they have beside what validators have is about
// the events that they handle.
type Bindings interface {
	Validators
	Generations
	State
	Trials
	Workbench
}

// Controls are an operator's.
type Controls interface {
	Pause(ctx context.Context, name string) (plugins.Status, error)
	Resume(ctx context.Context, name string) (plugins.Status, error)
	Rollback(ctx context.Context, name string, r plugins.Rollback) (plugins.Status, error)
}

// Generations are made of all events again.
type Generations interface {
	// Rebuild makes a generation beside the live one, which Switch switches to, or CancelRebuild
	// drops. DropBefore drops the one that was live before the last switch.
	Rebuild(ctx context.Context, name string, r plugins.Rebuild) (plugins.Status, error)
	Switch(ctx context.Context, name string) (plugins.Status, error)
	CancelRebuild(ctx context.Context, name string) (plugins.Status, error)
	DropBefore(ctx context.Context, name string) (plugins.Status, error)
}

// Trials run versions without effect.
type Trials interface {
	// DryRun runs a version, or two, over stored events, and calls progress meanwhile.
	DryRun(ctx context.Context, name string, d plugins.DryRun, progress func(plugins.DryRunProgress)) (plugins.DryRunResult, error)
	// Shadow has a version run in the shadow of the binding's, EndShadow none. Differences returns
	// what it did otherwise.
	Shadow(ctx context.Context, name string, r plugins.Shadow) (plugins.Status, error)
	EndShadow(ctx context.Context, name string) (plugins.Status, error)
	Differences(ctx context.Context, name string, r plugins.ShadowRequest) (plugins.ShadowReport, error)
}

// Workbench is for the events that bindings have parked.
type Workbench interface {
	// Poisoned and Poison are read from any node.
	Poisoned(ctx context.Context, name string, r plugins.PoisonRequest) (plugins.PoisonPage, error)
	// Poison returns all that is known of one, or event_not_parked.
	Poison(ctx context.Context, name string, position uint64) (plugins.PoisonEvent, error)
	// RunPoison runs a version on one, alone, and writes nothing.
	RunPoison(ctx context.Context, name string, position uint64, r plugins.PoisonRun) (plugins.PoisonTrial, error)
	// RetryPoison gives one back, and waits for what comes of it.
	RetryPoison(ctx context.Context, name string, position uint64) (plugins.PoisonRetry, error)
	DropPoison(ctx context.Context, name string, position uint64) error
}

// State is that of bindings, read from any node, but at the owner if it is to be at least of a
// position. Lanes may be plugins.OnlyLane.
type State interface {
	// Get returns a key with its value as the handler stored it, or state_not_found.
	Get(ctx context.Context, name string, r plugins.KeyRequest) (plugins.Entry, error)
	Entries(ctx context.Context, name string, r plugins.StateRequest) (plugins.StatePage, error)
	// Query has the version answer a query, or answers no_query.
	Query(ctx context.Context, name string, q plugins.Query) (plugins.Answer, error)
	// Watch watches the state, at the node that owns the binding. Another answers not_owner.
	Watch(ctx context.Context, name string, r plugins.WatchRequest) (plugins.Watch, error)
}

// Registry has the versions of plugins. Its methods are safe for concurrent use. The errors of
// what does not exist are plugin_not_found and version_not_found.
type Registry interface {
	// Upload verifies and stores a version; one that is there with the same content is not
	// created.
	Upload(ctx context.Context, u registry.Upload) (v plugins.Version, created bool, err error)
	Version(ctx context.Context, plugin, version string) (plugins.Version, error)
	Versions(ctx context.Context, plugin string, r plugins.ListRequest) (plugins.VersionPage, error)
	// List returns the newest version of each plugin.
	List(ctx context.Context, r plugins.ListRequest) (plugins.VersionPage, error)
	Module(ctx context.Context, v *plugins.Version) (io.ReadCloser, error)
	// Delete deletes a version that no binding uses, or answers plugin_in_use.
	Delete(ctx context.Context, plugin, version string) error
}

// Logs are those of bindings, read from any node. A binding that does not exist has none.
type Logs interface {
	Read(ctx context.Context, binding string, r plugins.LogsRequest) (plugins.LogsPage, error)
}

var (
	_ Bindings   = (*host.Host)(nil)
	_ Validators = (*validators.Validators)(nil)
	_ Registry   = (*registry.Registry)(nil)
	_ Logs       = (*output.Outputs)(nil)
)

// Config is what New needs, all of it but Owners.
type Config struct {
	Bindings   Bindings
	Validators Validators
	Registry   Registry
	Logs       Logs
	// Owners find the node of a binding in a ring; nil outside of one.
	Owners wsapi.Owners
}

// api serves what a Config has.
type api struct{ Config }

// New returns the extension of a node's API that serves its plugins.
func New(config Config) wsapi.Extension {
	all := byKind{config.Bindings, config.Validators, config.Registry}
	a := &api{Config{
		Bindings: bindingGuard{all}, Validators: config.Validators, Registry: registryGuard{config.Registry}, Logs: logGuard{config.Logs, all}, Owners: config.Owners,
	}}
	return wsapi.Extension{
		Feature: "plugins",
		Reasons: config.reasons,
		Routes:  a.routes(),
		Ops: []wsapi.Op{
			{Name: "plugin.state", Needs: access.SeePluginState, Do: a.stateOp},
			{Name: "plugin.query", Needs: access.SeePluginState, Do: a.queryOp},
		},
		Subs: []wsapi.Sub{
			{Name: "plugin.logs", Needs: access.SeePlugins, Open: a.followLogs},
			{Name: "plugin.dryRun", Needs: access.SeePluginState, Open: a.openDryRun},
			{Name: "plugin.watch", Needs: access.SeePluginState, Open: a.openWatch},
		},
	}
}

func (a *api) routes() []wsapi.Route {
	page := []string{"prefix", "cursor", "limit"}
	version := "/v1/plugins/{plugin}/versions/{version}"
	poison := "/v1/plugins/{binding}/poison"
	binding := func(method, below, op string, needs access.Action, audit string, handle handler) wsapi.Route {
		return wsapi.Route{Method: method, Path: "/v1/plugins/{binding}" + below, Op: op, Needs: needs, Audit: audit, Owned: "binding", Handle: handle}
	}
	state := func(method, below string, handle handler, query ...string) wsapi.Route {
		return wsapi.Route{
			Method: method, Path: "/v1/plugins/{binding}" + below, Needs: access.SeePluginState, Query: query, Owned: "binding", OwnedIf: atLeast, Handle: a.ofEvents("state", handle),
		}
	}
	return []wsapi.Route{
		{Method: "GET", Path: "/v1/plugins", Query: page, Op: "plugin.list", Needs: access.SeePlugins, Handle: a.list},
		{Method: "GET", Path: "/v1/plugins/abi", Op: "plugin.abi", Needs: access.Connect, Handle: describeABI},
		{Method: "GET", Path: "/v1/plugins/{plugin}/versions", Query: page, Op: "plugin.versions", Needs: access.SeePlugins, Handle: a.versions},
		{Method: "PUT", Path: version, Needs: access.UploadPlugins, Audit: "PluginUploaded", AuditOnly: 201, Handle: a.upload},
		{Method: "GET", Path: version, Op: "plugin.version", Needs: access.SeePlugins, Handle: a.version},
		{Method: "DELETE", Path: version, Op: "plugin.deleteVersion", Needs: access.UploadPlugins, Audit: "PluginVersionDeleted", Handle: a.deleteVersion},
		{Method: "GET", Path: version + "/module", Needs: access.SeePlugins, Handle: a.module},
		binding("POST", "/deploy", "plugin.deploy", access.DeployPlugins, "PluginDeployed", a.deploy),
		binding("GET", "", "plugin.info", access.SeePlugins, "", a.status),
		binding("DELETE", "", "plugin.delete", access.SteerPlugins, "PluginDeleted", a.delete),
		binding("POST", "/pause", "plugin.pause", access.SteerPlugins, "PluginPaused", a.control(a.Bindings.Pause)),
		binding("POST", "/resume", "plugin.resume", access.SteerPlugins, "PluginResumed", a.control(a.Bindings.Resume)),
		binding("POST", "/rollback", "plugin.rollback", access.SteerPlugins, "PluginRolledBack", a.rollback),
		binding("POST", "/rebuild", "plugin.rebuild", access.SteerPlugins, "PluginRebuilt", a.ofEvents("generations: deploy another version, and it judges what is appended from then on", a.rebuild)),
		binding("DELETE", "/rebuild", "plugin.cancelRebuild", access.SteerPlugins, "PluginRebuildCanceled", a.ofEvents("generations", a.control(a.Bindings.CancelRebuild))),
		binding("POST", "/switch", "plugin.switch", access.SteerPlugins, "PluginSwitched", a.ofEvents("generations", a.control(a.Bindings.Switch))),
		binding("DELETE", "/before", "plugin.dropBefore", access.SteerPlugins, "PluginGenerationDropped", a.ofEvents("generations", a.control(a.Bindings.DropBefore))),
		binding("POST", "/shadow", "plugin.shadow", access.DeployPlugins, "PluginShadowed", a.ofEvents("shadow: it judges what is appended", a.shadow)),
		binding("DELETE", "/shadow", "plugin.endShadow", access.SteerPlugins, "PluginShadowEnded", a.ofEvents("shadow", a.control(a.Bindings.EndShadow))),
		a.differencesRoute(binding),
		{Method: "POST", Path: "/v1/plugins/{binding}/dry-run", Needs: access.SeePluginState, Handle: a.dryRun},
		{Method: "GET", Path: poison, Op: "plugin.poison", Needs: access.SeePluginState, Query: []string{"after", "limit"}, Handle: a.ofEvents("parked events", a.poisoned)},
		{Method: "GET", Path: poison + "/{position}", Op: "plugin.showPoison", Needs: access.SeePluginState, Handle: a.ofEvents("parked events", a.poison)},
		{Method: "POST", Path: poison + "/{position}/run", Op: "plugin.runPoison", Needs: access.SeePluginState, Handle: a.ofEvents("parked events", a.runPoison)},
		binding("POST", "/poison/{position}/retry", "plugin.retryPoison", access.SteerPlugins, "PluginPoisonRetried", a.ofEvents("parked events", a.retryPoison)),
		binding("DELETE", "/poison/{position}", "plugin.dropPoison", access.SteerPlugins, "PluginPoisonDropped", a.ofEvents("parked events", a.dropPoison)),
		{Method: "GET", Path: "/v1/plugins/{binding}/logs", Needs: access.SeePlugins, Query: []string{"after", "last", "limit", "waitMs"}, Handle: a.logs},
		state("GET", "/state", a.stateOrWatch, "prefix", "after", "limit", "lane", atLeast, "watch", "cursor"),
		state("GET", "/state/{key}", a.value, "lane", atLeast),
		state("POST", "/query", a.query, "lane", atLeast),
	}
}
