// Package cloudevents maps events to CloudEvents 1.0 and back, in the three forms that
// the HTTP binding has: binary (attributes are headers, the body is the data), JSON,
// and a batch of JSON.
//
//	attribute                  of an event
//	id                         its id, where it is a UUID; else a UUID made of source
//	                           and id, and metadata cloudevents_id
//	type, time                 the same
//	datacontenttype, data      content type and data; no data is JSON's null
//	source, subject            metadata source and subject; by default /streams/{stream}
//	                           and the stream, which are not kept
//	correlationid, causationid metadata correlation_id and causation_id
//	any other                  metadata of the same name
//	sequence                   its position, with leading zeros; the log's own
//	partitionkey               its stream; the log's own
//	recordedtime               the same; the log's own
//
// What is the log's own is passed over when events come in. Metadata that is no
// attribute of CloudEvents by name or value is left out when they go: an attribute's
// name has lower-case letters and digits only, its value is a string without control
// characters, a boolean or a whole number of 32 bits.
//
// It promises:
//
//   - An event whose metadata can be expressed comes back as it was, and so does a
//     CloudEvent, but for times below a microsecond.
//   - A CloudEvent that comes again has the same event id, so it is written once.
//   - An error is a *core.Error that names the attribute.
//
// The functions are safe for concurrent use.
package cloudevents
