// Package effects stages what a handler does with a batch, and answers what it asks. Nothing of
// it is written: whoever hands out the batch decides what becomes of what was staged. A lane of
// the host makes a Commit of it; a trial keeps it in memory.
//
//	Terms   what a binding grants and limits, the same for all its lanes
//	Ground  what a Stage stands on: the state behind the batches before, and the log
//	Batch   events, encoded for a handler
//	Stage   hands a Batch to a handler, and has what that did
//
// A Stage is the plugins.Effects and the plugins.Reads of its handler. What a handler has staged
// is read over the Ground. What some events have staged can be dropped with all behind them, so
// that a batch can be cut before an event that failed.
//
// A Stage and a Batch belong to one goroutine.
package effects
