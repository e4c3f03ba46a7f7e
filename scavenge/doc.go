// Package scavenge runs the scavenges of a store: the work that gives back the storage of events
// that nobody can read any more (core.Scavenger). A scavenge runs in the background of the node
// where it was started.
//
// # Rules
//
//   - At most one scavenge of a store runs, in a ring, too.
//   - It says how far it is in a record, every saveEvery. So every node knows, and the next
//     scavenge goes on where one was stopped or interrupted. A dry run leaves that place alone.
//   - The record moves by compare-and-set. A scavenge that finds it changed by another ends. Two
//     at once, for a moment, do no harm: what goes would go anyway.
//   - A scavenge is interrupted if its record has not moved for aliveFor, if its node runs as
//     another process now, or if the store belongs to this node alone. Whoever starts the next one takes over.
//   - It first deletes the snapshots of removed events. A removal does that, too, but for what is
//     recorded at the same moment by a node that is killed then.
//   - A node stops the scavenge of another node through the record.
package scavenge
