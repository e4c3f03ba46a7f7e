// Command bench measures Gyre against floors: the least that the machine asks for the
// same work, such as a bare loop of write and fdatasync of the same bytes.
//
//	go run ./internal/bench -out build/bench.json [-run REGEXP] [-scale 0.1] [-dir DIR]
//
// A measure and its floor run in turn, several times. Each figure is the median of the
// rounds, with the lowest and the highest round that are left when the extremes of
// either side are set aside: its spread. Beside throughput stands the processor time of
// each operation, by getrusage, of the measure and of its floor. Absolute figures are
// the machine's; ratios travel to another machine, that of processor times best.
//
// A bar is what one of these figures has to reach, or not to pass. It holds or is missed
// when the spread is clear of it; otherwise it is "too near to tell". Only a bar that is
// clearly missed makes the exit code 1. A measure whose result the host decides has no
// bar: its figures are there to compare two commits on one machine.
//
// The command prints a table and writes the results, an array of [Result], as JSON.
package main
