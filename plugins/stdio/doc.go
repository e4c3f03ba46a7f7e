// Package stdio is the text of ABI stdio_1, by which a plain command is a handler: the events of a
// batch are lines that it reads, and its effects are lines that it writes. All lines are JSON
// objects in UTF-8. Package plugins/wasm runs the command.
//
// # What a command reads
//
// The first line is about the batch. Each line behind it is an event, with the members that it has
// in the API, and attempt, which counts from 1:
//
//	{"batch":{"events":2,"config":{"least":10}}}
//	{"stream":"order-1","version":1,"position":7,"id":"…","type":"OrderPlaced","time":"…",
//	  "recorded":"…","data":{"total":10},"metadata":{},"attempt":1}
//
// An event that is no JSON has dataBase64 instead of data. One that is handled again after it was
// parked has replay, and one that is read through a link has link, the stream and version of what
// is linked.
//
// # What a command writes
//
// do says what a line does, and position which event it is of. Events are in their order: no line is
// of an event before that of the line above. An event without a line is acknowledged, and has no
// effects.
//
//	{"do":"append","position":7,"stream":"bill-1","expect":"no_stream","events":[{"type":"Billed","data":{}}]}
//	{"do":"put","position":7,"key":"order-1","value":{"total":10}}
//	{"do":"delete","position":7,"key":"order-1"}
//	{"do":"retry","position":8,"delayMs":500,"reason":"no price yet"}
//	{"do":"park","position":8,"reason":"no total"}
//	{"do":"skip","position":8}
//	{"do":"ack","position":8}
//	{"do":"log","level":"warn","text":"an order without a total"}
//	{"do":"metric","kind":"counter","name":"orders","value":1}
//
// expect is any if it is left out. An event to append has type, data or dataBase64, and metadata
// if need be. valueBase64 stands for a value that is no JSON. Nothing else is taken: a member that
// does not exist, a line that is no JSON object, and one of more than MaxLine bytes are errors.
//
// Functions of this package are safe for concurrent use.
package stdio
