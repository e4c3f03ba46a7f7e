// Package expression compiles and runs the expressions of subscriptions: filters, partition
// keys and maps. They are CEL, the Common Expression Language (https://cel.dev), with its
// standard functions:
//
//	data.total > 100 && type.startsWith("Order")
//	has(data.customer) && data.customer.country in ["AT", "CH", "DE"]
//	{"id": data.id, "cents": data.items.map(i, i.cents)}
//
// An expression sees these variables:
//
//	stream, type, id      string; the stream of a link is that of its event
//	version, position     int
//	time, recorded        timestamp
//	data                  the data; null if it is not JSON
//	metadata              map
//
// JSON numbers that are written as integers are ints, others are doubles. Comparing them needs
// no conversion, calculating does. Selecting a field that is missing is an error: ask with has
// first.
//
// # Bounds
//
// Expressions have no effects, read no clock and do no I/O. The expressions of a definition
// have a budget for each event, of time and memory together. Each operation takes from it what
// it is going to read and to make, before it does:
//
//   - Reading the event's JSON costs its values and their bytes. Its depth is bounded.
//   - Joining, comparing, converting and writing cost every element and byte they come to. A
//     value whose parts share memory costs what it would without.
//   - A match costs the text times the size of the pattern's program.
//
// An event that exceeds the budget has a fault, as it has for any other error. Whoever runs
// the Program parks it with the reason.
//
// Some of CEL is refused when a definition is compiled. The pattern of matches and the time
// zone of getHours and the like are literals, and are compiled and loaded once. The programs
// of an expression's patterns are bounded together. Messages of protocol buffers cannot be
// made.
//
// # Design
//
// cel-go parses and checks; this package evaluates. The interpreter of cel-go counts the cost
// of an operation once it is done, and values that share their parts cost nothing there. The
// tests compare both.
//
// A [Compiler] is safe for concurrent use. A Program belongs to one goroutine, and shares what
// is compiled with the others of the same source.
package expression
