// Package cloudevents maps events to CloudEvents 1.0 and back, in the three forms that
// the HTTP binding has: binary (attributes are headers, the body is the data), JSON,
// and a batch of JSON.
//
//	attribute                  of an event
//	id                         its id, or metadata cloudevents_id: the id of an event
//	                           from another source is a UUID made of source and id
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
//   - A CloudEvent is read as it was sent, but for times below a microsecond. So is an
//     event that is sent to a stream of the same name, if CloudEvents can express its
//     metadata and that names no source.
//   - Source and id identify a CloudEvent. One that is sent again has the same event id,
//     so it is written once; the id of another source is another event.
//   - An error is a *core.Error that names the attribute.
//
// The functions are safe for concurrent use.
package cloudevents
