// Package disk is the embedded storage engine: an append-only log in a
// directory of its own, with everything that finds events in it derived from
// the log and rebuilt when it is lost.
package disk
