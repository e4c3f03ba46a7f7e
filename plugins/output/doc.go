// Package output keeps what bindings report about themselves: log lines and metrics.
//
// A binding has one log, which all its lanes write to. It is kept in the store, so that it
// survives restarts and moves to another node, and can be read at every node. Log never
// blocks: lines wait in memory, and a goroutine writes those of each binding in one Commit,
// FlushEvery after the first of them. A node that is killed loses the lines that wait.
//
//	table        key              value
//	plugin_logs  binding          index: which lines there are, and in which chunks
//	plugin_logs  binding/FIRST    chunk: lines as JSON, one per row; FIRST is the sequence
//	                              number of the first of them, in hex
//
// A Commit compares and replaces the index, so two nodes never mix up a log. The first line of
// a binding that was deleted and deployed again replaces the log of the one before. A new chunk takes
// in the ones before it that are not much larger, up to maxChunkBytes: each line is written
// again a few times, and there are few chunks. The newest MaxStoredBytes are kept, and the
// oldest chunks beyond them removed.
//
// A binding may log BytesPerMinute. What is more is dropped, and a line says how much.
//
// Metrics are of this process: they begin at zero when the node starts, and count batches that
// are handled again. A binding has at most abi.MaxSeries of them, under the labels binding
// and name.
//
// All methods of an Outputs are safe for concurrent use. A Lane belongs to one goroutine.
package output
