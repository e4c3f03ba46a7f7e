// Command bench measures Gyre against floors: the least that the machine asks
// for the same work, such as a bare loop of write and fdatasync of the same
// bytes. Only ratios mean something on a machine that is shared, so a measure
// and its floor run in turn, several times, and the medians count.
//
//	go run ./internal/bench -out build/bench.json [-run REGEXP] [-scale 0.1] [-dir DIR]
//
// It prints a table and writes an array of
//
//	{name, value, unit, floor, ratio, bar, holds}
//
// A bar is what the ratio has to reach (or, where lower is better, stay
// below); a measure without a bar always holds. The exit code is 1 when a bar
// does not hold.
package main
