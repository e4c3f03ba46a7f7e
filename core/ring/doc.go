// Package ring has the values of the quorum ring and the rules over them. It is pure: no
// clock, no network, no storage.
//
// # Words
//
//   - A name is that of a stream or of a subscription. Slot hashes it to one of 4096 slots.
//   - A session is one start of a process, and has a number that is never used again. A
//     restarted node has another session under the same node id.
//   - A Member is a session that a view names: with its node id, and the addresses by which
//     nodes and clients reach it.
//   - A View is the agreed set of members, numbered by its epoch. Views are stored one
//     after another and never change.
//   - The owner of a slot in a view is a pure function of both (View.Owner): the member
//     whose hash with the slot is the greatest. So only the slots of a member that goes, or
//     comes, change their owner.
//   - A node that drains, or that all members deny by their Filter, is only an entry node: it
//     takes calls and is in no view.
//   - A Barrier holds a node back when it starts, until the nodes of its Sync are up.
//
// A view names sessions, not node ids: a process that a view does not name owns nothing in
// it, whatever its name. The owner's hash is that of the node id, so a node that is started
// again gets the slots that it had.
//
// package cluster keeps a node in the ring; storage keeps the views (cluster.Arbiter).
package ring
