// Package plugins has the words of plugins: code that people upload, which handles events
// inside the node. Its types are those of the API, of the host that runs plugins and of the
// clients. The host is [github.com/gyre-events/gyre/plugins/host], the sandbox is
// [github.com/gyre-events/gyre/plugins/wasm], and the contract with guests is
// [github.com/gyre-events/gyre/plugins/abi].
//
// # Packages
//
//	plugins/registry  verifies an upload, compiles it in a child process, puts the module as
//	                  a blob, commits the version; loads versions as Programs
//	plugins/stdio     the lines that a command reads and writes: the contract without an SDK
//	plugins/effects   stages what a handler does with a batch
//	plugins/outside   calls other servers
//	plugins/host      commits a binding with its subscription, and runs it at the node that
//	                  owns that
//	plugins/judge     runs filters, maps and partitioners for subscriptions
//	plugins/validators  judge appends, by those that are in force at the node
//	plugins/trial     runs versions and writes nothing: dry runs
//	plugins/project   makes and builds the directory of a plugin; gyre plugin test
//	plugins/dev       builds and runs one whenever a file changes; gyre plugin dev
//	plugins/output    keeps what bindings log, and their metrics
//	plugins/api       serves all of it over HTTP and WebSocket
//
// # Words
//
//	plugin      a name, under which versions are uploaded
//	version     a module and its manifest: immutable, addressed by the SHA-256 of the module
//	manifest    what a version says about itself: kind, input, capabilities, wanted limits
//	binding     a version at work: it has one subscription, grants, config, limits and an
//	            error policy; to deploy is to create or to change one
//	validator   a binding that judges appends before they are written: it has patterns of
//	            streams and no subscription, lanes, state or grants, and is in force at
//	            every node
//	grant       a capability that a binding gives its plugin; what is not granted is denied
//	lane        a part of a binding's events, by partition key, with a checkpoint and state
//	            of its own, handled in order
//	generation  what a binding has made of its events, from one start: state and ids of emitted
//	            events belong to one. One is live. A rebuild makes another beside it, and a
//	            switch has them change places; the one before is kept for a rollback
//	effects     what a handler stages for a batch: events to append, and state
//	judge       to decide about an event without effects, as a filter, a map, a partitioner or
//	            a validator does
//	dry run     a version that handles stored events, of which nothing is written
//	shadow      a version that handles what a binding does, on the same state, of which
//	            nothing is written
//	park        to set an event aside with the reason, so that those after it go on
//	poison      a parked event, with what is known of why: its steps, stack and attempts
//	step        what a handler did with an event: a line of the log, a change of state, an append
//	replay      to handle a parked event again
//
// # Exactly once, in effect
//
// A batch of a lane is one Commit: its appends, its state and its place. The record of the
// lane, which the Commit compares and replaces, is the truth about the place. So a batch
// whose Commit was made is never handled again with effect, and one whose Commit was not
// made has none: through retries, parks, kills, moves to another node and upgrades.
//
// A Program, a Handler and Effects are the seam between the host, which decides what is
// handled when, and what runs: Wasm, or Go in the same process.
//
// # Manifests
//
// A manifest asks; it grants nothing. DecodeManifest takes what anybody wrote, refuses what it
// does not know, and names the member that is wrong. ParseCapabilities makes a list of which
// Allow answers whether a plugin may append to a stream, read a secret, and so on.
package plugins
