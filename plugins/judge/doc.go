// Package judge runs the plugins that judge events, and have no effects: filters, maps and
// partitioners of subscriptions. A trial of a validator runs in it, too; what judges appends is in
// package validators.
//
// A [Judge] is a plugin at work for one user. It hands the plugin batches of events, and returns a
// verdict for each event. What the plugin does wrong is the fault of one event:
//
//   - After a trap, a time-out, or an answer to the batch that is none, the instance is thrown
//     away. The batch is cut, until the events before the one that fails are judged.
//   - An event has a fault if the plugin fails on it alone, in an instance that has judged
//     nothing else.
//   - An answer that is none, about one event, is the fault of that event.
//
// What is not the plugin's doing, such as a node without memory for another instance, is an error
// of the call, and no event has it.
//
// [Judges] makes of a Judge what a subscription needs: a Program of its filter, its partitioner or
// its map. A call costs at most the plugin's limits, which are those of its manifest.
package judge
