// Package expression has the expressions of subscriptions: those that filter events,
// choose their partition keys, and map their data. They are CEL, the Common Expression
// Language (https://cel.dev), with its standard functions:
//
//	data.total > 100 && type.startsWith("Order")
//	has(data.customer) && data.customer.country in ["AT", "CH", "DE"]
//	{"id": data.id, "cents": data.items.map(i, i.cents)}
//
// An expression sees these:
//
//	stream, type, id      text; of a link, stream is its event's
//	version, position     int
//	time, recorded        timestamp
//	data                  the data; null where it is not JSON
//	metadata              a map
//
// Numbers of JSON that are written as integers are ints, others doubles; comparing
// them needs no conversion, calculating does. A field that is not there is an error:
// ask with has first.
//
// Expressions have no effects, read no clock, and do no I/O. What one costs for an
// event is bounded, in time and memory alike: it is counted while it runs. An error is
// the event's: it is parked with the reason.
package expression
