package plugins

import "github.com/go-json-experiment/json/jsontext"

// IsJSON reports whether what a module has made is JSON as Gyre takes it from clients: one value,
// in UTF-8, without a name twice. encoding/json takes more, such as bytes that are no text, at
// which a WebSocket and readers in other languages break.
func IsJSON(value []byte) bool { return jsontext.Value(value).IsValid() }
