// Package query registers what answers queries about a plugin's state. A module that imports it
// exports the function by which it is asked; one that does not answers none.
//
//	func init() { query.Handle(top) }
//
//	func top(v *plugin.View, query []byte) ([]byte, error) { … }
package query
