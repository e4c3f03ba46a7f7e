// Package trial runs versions of plugins over events, and writes nothing: what they append and
// their state stay in memory. It is what dry runs are, in a node or in the process of a command
// that has a client, and what gyre plugin test does.
//
//	Source ──► lanes of a Version ──► Tally: counts, and the first of everything
//	               │  ▲                  │
//	               ▼  │                  ▼
//	              State             plugins.Trial
//
// A Version handles events as a binding does: dealt to lanes by their key, in batches that its
// limits bound, with what its grants and its error policy say. An attempt that failed is made
// again at once, without the wait between. A batch in which one event fails is cut before it, and
// one that fails as a whole is halved until the event is alone. Outputs and state of a handler that
// depends on its events and its state only do not depend on where batches are cut, so those of a
// version that was deployed from the beginning are those that are stored, ids included. Fuel and
// what the handler keeps in memory may differ.
//
// Three things are not as in a binding. An append is not refused because its stream is at another
// version than it expects, but by an Alone. Reads of streams see the log as it is now. Parked events
// are not replayed.
//
// A Comparison watches two Versions over the same events, and lists what each did where they
// differ. A Version can be one lane whose state is elsewhere, as that of a shadow is.
package trial
