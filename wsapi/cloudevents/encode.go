package cloudevents

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// AppendBatch appends the events of b to dst, as a batch in JSON.
func AppendBatch(dst []byte, b core.Batch) []byte {
	dst = append(dst, '[')
	first := true
	for e := range b.Events() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = Append(dst, &e)
	}
	return append(dst, ']')
}

// Append appends e to dst, as a CloudEvent in JSON.
func Append(dst []byte, e *core.Event) []byte {
	more := expressible(e.Metadata)
	raw := func(name string, value []byte) {
		dst = append(appendName(dst, name), value...)
		dst = append(dst, ',')
	}
	text := func(name, value string) {
		quoted, _ := jsontext.AppendQuote(nil, value) // what is not UTF-8 is replaced
		raw(name, quoted)
	}
	// kept is what the event came with, or else what it is here.
	kept := func(name, value string) {
		if v, ok := more[name]; ok && string(v) != `""` {
			raw(name, v)
		} else {
			text(name, value)
		}
		delete(more, name)
	}
	dst = append(dst, '{')
	text("specversion", specVersion)
	kept("id", e.ID.String())
	kept("source", sourceOf(e.Stream))
	kept("subject", e.Stream)
	text("type", e.Type)
	text("time", wire.FormatTime(e.Time))
	text("sequence", fmt.Sprintf("%016d", e.Position))
	text("partitionkey", e.Stream)
	text("recordedtime", wire.FormatTime(e.Recorded))
	for _, name := range slices.Sorted(maps.Keys(more)) {
		raw(name, more[name])
	}
	contentType := e.ContentType
	if contentType == "" && e.Format == core.JSON {
		contentType = typeJSON
	}
	if contentType != "" {
		text("datacontenttype", contentType)
	}
	switch {
	case e.Format == core.JSON && string(e.Data) == "null":
		dst = dst[:len(dst)-1]
	case e.Format == core.JSON && isJSON(contentType):
		dst = append(appendName(dst, "data"), e.Data...)
	default:
		dst = append(appendName(dst, "data_base64"), '"')
		dst = append(base64.StdEncoding.AppendEncode(dst, e.Data), '"')
	}
	return append(dst, '}')
}

func appendName(dst []byte, name string) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// expressible are the attributes that the metadata has.
func expressible(metadata []byte) map[string]jsontext.Value {
	if len(metadata) == 0 {
		return nil
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(metadata, &members); err != nil {
		return nil // it was checked when it came
	}
	attributes := make(map[string]jsontext.Value, len(members))
	for key, v := range members {
		name, ok := attributeOf(key)
		if !ok {
			continue
		}
		if _, ok = isValue(name, v); ok {
			attributes[name] = v
		}
	}
	return attributes
}
