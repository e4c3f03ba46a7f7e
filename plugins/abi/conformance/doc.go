// Package conformance is a kit that shows whether an SDK for plugins keeps to the ABI: batches and
// the effects that a guest has to have. README.md explains it to authors of an SDK.
package conformance
