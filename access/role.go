package access

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// Role is what a principal may do.
type Role string

// The roles that a key can have.
const (
	Admin        Role = "admin"
	Operator     Role = "operator"
	Writer       Role = "writer"
	Reader       Role = "reader"
	PluginAuthor Role = "plugin-author"
)

// The roles that no key has.
const (
	roleAnyone Role = "anyone" // where there are no keys
	roleNode   Role = "node"   // another node of the ring
	roleNobody Role = "nobody" // has given no key, or a wrong one
)

// Roles are those that a key can have.
func Roles() []Role { return []Role{Admin, Operator, Writer, Reader, PluginAuthor} }

// ParseRole returns the role with a name. The error is invalid_key.
func ParseRole(name string) (Role, error) {
	if r := Role(name); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", core.Errorf(core.CodeInvalidKey, "role %.40q is none of admin, operator, writer, reader, plugin-author", name)
}

// Action is what a principal asks for. Those of the first group have a target.
type Action string

// The actions.
const (
	Append   Action = "append"   // to a stream
	Read     Action = "read"     // a stream, or $all
	Consume  Action = "consume"  // a named subscription, over a stream or $all
	Progress Action = "progress" // read or move a place, by its name

	DeleteProgress     Action = "progress.delete"
	ListStreams        Action = "streams.list" // those that it may read
	SeeSubscriptions   Action = "subscriptions.see"
	SteerSubscriptions Action = "subscriptions.steer" // put, pause, resume, reset, delete; parked events
	SeePlugins         Action = "plugins.see"         // versions, bindings, logs
	UploadPlugins      Action = "plugins.upload"
	DeployPlugins      Action = "plugins.deploy" // within its own patterns
	Grant              Action = "plugins.grant"  // what is not a stream: hosts to call, secrets
	SteerPlugins       Action = "plugins.steer"  // pause, resume, rollback, rebuild, delete
	SeePluginState     Action = "plugins.state"
	SeeCluster         Action = "cluster.see"
	SteerCluster       Action = "cluster.steer" // drain, undrain, leave
	SeeServer          Action = "server.see"    // version, limits and head
	SeeMetrics         Action = "metrics.see"   // and stats, settings and the descriptions of the APIs
	ManageKeys         Action = "keys.manage"
	Connect            Action = "connect" // open a WebSocket, ask what it may do
	Open               Action = "open"    // what everybody may do: is the node alive?
)

// Actions lists all of them.
func Actions() []Action {
	return []Action{
		Append, Read, Consume, Progress, DeleteProgress, ListStreams, SeeSubscriptions, SteerSubscriptions,
		SeePlugins, UploadPlugins, DeployPlugins, Grant, SteerPlugins, SeePluginState,
		SeeCluster, SteerCluster, SeeServer, SeeMetrics, ManageKeys, Connect, Open,
	}
}

// table has what each role may do. Admins, nodes and Anyone may do everything. Actions on
// streams are bound to the principal's patterns besides.
var table = map[Role][]Action{
	Operator: {
		Open, Connect, Read, Consume, Progress, DeleteProgress, ListStreams, SeeSubscriptions, SteerSubscriptions,
		SeePlugins, UploadPlugins, DeployPlugins, SteerPlugins, SeePluginState, SeeCluster, SteerCluster, SeeServer, SeeMetrics,
	},
	Writer:       {Open, Connect, Append, Read, Consume, Progress, DeleteProgress, ListStreams, SeeServer},
	Reader:       {Open, Connect, Read, Consume, Progress, ListStreams, SeePluginState, SeeServer},
	PluginAuthor: {Open, Connect, SeePlugins, UploadPlugins, DeployPlugins, SteerPlugins, SeePluginState, SeeServer},
	roleNobody:   {Open},
}

// may reports whether a role may do a at all.
func (r Role) may(a Action) bool { return r.isFree() || slices.Contains(table[r], a) }

// isFree reports whether a role may do everything.
func (r Role) isFree() bool { return r == Admin || r == roleNode || r == roleAnyone }

// readsAll reports whether a role may read $all.
func (r Role) readsAll() bool { return r.isFree() || r == Operator || r == Reader }
