// Package cluster makes several nodes one ring: every stream and every named subscription
// has one owner node, ownership moves when nodes come and go, and below quorum nothing is
// owned.
//
// # Parts
//
//   - An Arbiter, implemented beside the log's row by core/postgres and memory.Log, keeps
//     sessions and views. The transaction that stores view e+1 begins by moving the log's
//     epoch from e to e+1, so storage refuses what is still made under e (P7).
//   - Membership keeps this node's session, gossips with the other nodes (memberlist),
//     proposes views, and publishes what it knows as a State. Gossip is a hint; the Arbiter
//     decides.
//   - The Router is a core.Log and a subscriptions.Joiner. It takes every Commit to the
//     owner of the first stream that it writes, and joins subscriptions at the owner of
//     their name, over one Link to each other node. Reads and follows run here.
//
// # Files
//
//   - membership.go starts a Membership: beat.go, gossip.go and joins.go learn of others,
//     barrier.go has a node wait for others when it starts, propose.go proposes views,
//     gate.go opens and closes the gate, state.go is what it publishes.
//   - router.go has the rules of the Router. A Commit is an entry (entry.go) in its orders
//     (order.go), goes by a path (path.go), and is looked up when in doubt (doubt.go).
//     link.go is a Link's seam, links.go this node's ends, incoming.go the others'.
//   - reads.go and follow.go wait for the gate; heads.go tells other nodes of new events.
//   - forget.go has all nodes drop what is removed from the log; received.go drops what came
//     over a Link and is not handed out.
//   - hosting.go and hoststore.go host what the node holds; join.go and joined.go follow a
//     subscription to its owner; list.go lists those of all nodes.
//   - diagnostics.go and owned.go answer what people ask.
//
// Package formation finds addresses of other nodes, which Config.Seeds brings. Links over
// connections are in runtime (peer.go) and wsapi (peers.go); the arbiters are in
// core/postgres and core/memory (arbiter.go); runtime/ring.go puts a node together.
//
// # When a node serves
//
// A node serves while it is in the newest view that it knows, its session is fresh, and as
// many members of the view as its quorum are alive: their session beats and gossip holds
// them alive. Else its gate is closed: calls wait, or are answered no_node_available.
//
// Before it opens its gate, a node reads what was removed from the log meanwhile: a removal waits
// only for nodes that serve (Router.Forget).
//
// A node that drains, and one that all members of the view deny (ring.Filter), serves as an
// entry node without being in the view. A node that waits for others at start (ring.Barrier) has a
// session like any other, asks to be left out of views, and does not serve.
//
// A node hosts a subscription of a slot only after every earlier owner has let the slot go
// or can no longer believe that it has it (State.Holds). Commits need not wait for that:
// storage refuses those of an earlier epoch.
//
// The rules of the Router have numbers, R1 to R10, which its code and its tests name; they
// are in router.go.
package cluster
