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

// Action is what a principal asks for.
type Action string

// The actions.
const (
	Append   Action = "append"   // to a stream
	Read     Action = "read"     // a stream, or $all
	Consume  Action = "consume"  // a named subscription, over a stream or $all
	Progress Action = "progress" // read or move a place, by its name

	DeleteStreams      Action = "streams.delete"    // and undelete them
	RemoveStreams      Action = "streams.remove"    // with their events, for good
	SetRetention       Action = "streams.retention" // what expires of a stream, or of all of a category
	DeleteProgress     Action = "progress.delete"
	ListStreams        Action = "streams.list" // those that it may read
	SeeSubscriptions   Action = "subscriptions.see"
	SteerSubscriptions Action = "subscriptions.steer" // put, pause, resume, reset, delete; parked events
	SeePlugins         Action = "plugins.see"         // versions, bindings, logs
	UploadPlugins      Action = "plugins.upload"
	DeployPlugins      Action = "plugins.deploy" // a binding, within its own patterns
	Grant              Action = "plugins.grant"  // what is not a stream: hosts to call, secrets
	SteerPlugins       Action = "plugins.steer"  // pause, resume, rollback, rebuild, delete
	SeePluginState     Action = "plugins.state"
	SeeCluster         Action = "cluster.see"
	SteerCluster       Action = "cluster.steer" // drain, undrain, leave
	Scavenge           Action = "scavenge"      // start, stop and watch
	Backup             Action = "backup"        // copy all files of the store
	SeeServer          Action = "server.see"    // version, limits and head
	SeeMetrics         Action = "metrics.see"   // and stats, settings and the descriptions of the APIs
	ManageKeys         Action = "keys.manage"
	Connect            Action = "connect" // open a WebSocket, ask what it may do
	Open               Action = "open"    // what everybody may do: is the node alive?
)

// Target is what an action can be asked about.
type Target string

// The targets.
const (
	Stream  Target = "stream"
	Name    Target = "name" // of a subscription, a progress, a plugin or a binding
	Nothing Target = "nothing"
)

// actions describes all of them, in the order in which they are shown.
var actions = []struct {
	Action
	Target
	words    string // what is done, for messages
	withWhat string // the same with a target behind it, if the action has one
}{
	{Append, Stream, "append to streams", "append to"},
	{Read, Stream, "read streams", "read"},
	{Consume, Stream, "consume subscriptions", "consume"},
	{Progress, Name, "use progress", "use progress"},
	{DeleteStreams, Stream, "delete streams", "delete or undelete"},
	{RemoveStreams, Stream, "remove the events of streams", "remove the events of"},
	{SetRetention, Stream, "set the retention of streams", "set the retention of"},
	{DeleteProgress, Name, "delete progress", "delete progress"},
	{ListStreams, Nothing, "list streams", ""},
	{SeeSubscriptions, Nothing, "see subscriptions", ""},
	{SteerSubscriptions, Name, "steer subscriptions", "steer subscription"},
	{SeePlugins, Nothing, "see plugins", ""},
	{UploadPlugins, Name, "upload and delete plugins", "upload or delete plugin"},
	{DeployPlugins, Name, "deploy plugins", "deploy binding"},
	{Grant, Nothing, "grant plugins what is not a stream", "grant"},
	{SteerPlugins, Name, "steer plugins", "steer binding"},
	{SeePluginState, Nothing, "see the state of plugins", ""},
	{SeeCluster, Nothing, "see the ring", ""},
	{SteerCluster, Nothing, "steer the ring", ""},
	{Scavenge, Nothing, "scavenge the store", ""},
	{Backup, Nothing, "back up the store", ""},
	{SeeServer, Nothing, "see the server", ""},
	{SeeMetrics, Nothing, "see metrics, settings and the descriptions of the APIs", ""},
	{ManageKeys, Nothing, "manage keys", ""},
	{Connect, Nothing, "connect", ""},
	{Open, Nothing, "reach the node", ""},
}

// Actions lists all of them.
func Actions() (list []Action) {
	for i := range actions {
		list = append(list, actions[i].Action)
	}
	return list
}

// Target is what a can be asked about; "" if there is no such action.
func (a Action) Target() Target {
	for i := range actions {
		if actions[i].Action == a {
			return actions[i].Target
		}
	}
	return ""
}

// with says a with a target in words, to follow "may not".
func (a Action) with(target string) string {
	for i := range actions {
		switch x := &actions[i]; {
		case x.Action != a:
		case target != "" && x.withWhat != "":
			return x.withWhat + " " + core.Clip(target)
		default:
			return x.words
		}
	}
	return string(a)
}

// table has what each role may do. Admins, nodes and Anyone may do everything. Actions on
// streams are bound to the principal's patterns besides.
var table = map[Role][]Action{
	Operator: {
		Open, Connect, Read, DeleteStreams, RemoveStreams, SetRetention, Consume, Progress, DeleteProgress, ListStreams, SeeSubscriptions, SteerSubscriptions,
		SeePlugins, UploadPlugins, DeployPlugins, SteerPlugins, SeePluginState, SeeCluster, SteerCluster, Scavenge, SeeServer, SeeMetrics,
	},
	Writer:       {Open, Connect, Append, Read, DeleteStreams, Consume, Progress, DeleteProgress, ListStreams, SeeServer},
	Reader:       {Open, Connect, Read, Consume, Progress, ListStreams, SeePluginState, SeeServer},
	PluginAuthor: {Open, Connect, SeePlugins, UploadPlugins, DeployPlugins, SteerPlugins, SeePluginState, SeeServer},
	roleNobody:   {Open},
}

// writes reports whether a changes streams, which the system's never are.
func (a Action) writes() bool {
	return a == Append || a == DeleteStreams || a == RemoveStreams || a == SetRetention
}

// may reports whether a role may do a at all.
func (r Role) may(a Action) bool { return r.isFree() || slices.Contains(table[r], a) }

// isFree reports whether a role may do everything.
func (r Role) isFree() bool { return r == Admin || r == roleNode || r == roleAnyone }

// readsAll reports whether a role may read $all.
func (r Role) readsAll() bool { return r.isFree() || r == Operator || r == Reader }
