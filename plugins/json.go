package plugins

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// IsJSON reports whether what a module has made is JSON as Gyre takes it from clients: one value,
// in UTF-8, without a name twice. encoding/json takes more, such as bytes that are no text, at
// which a WebSocket and readers in other languages break.
func IsJSON(value []byte) bool { return jsontext.Value(value).IsValid() }

// marshal is json.Marshal, and leaves <, > and & as they are: what it makes is no part of a page.
func marshal(v any) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(text.Bytes(), []byte{'\n'}), err
}
