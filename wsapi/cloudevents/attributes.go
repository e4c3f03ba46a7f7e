package cloudevents

import (
	"mime"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// specVersion is the version of CloudEvents.
const specVersion = "1.0"

// required are the attributes that a CloudEvent must have.
var required = []string{"specversion", "id", "source", "type"}

// attribute is one that is not simply a key of the metadata, or not of any type.
type attribute struct {
	// set takes a CloudEvent's value; nil leaves it to the metadata.
	set func(e *core.NewEvent, value string) error
	// key is that of the metadata, where it is not the attribute's name.
	key string
	// own says that only the event itself has it, never its metadata.
	own bool
}

// attributes are those of the table in the package's comment. All are strings.
var attributes = map[string]attribute{
	"specversion":     {set: setSpecVersion, own: true},
	"type":            {set: setType, own: true},
	"time":            {set: setTime, own: true},
	"datacontenttype": {set: setNothing, own: true}, // goes with the data
	"sequence":        {set: setNothing, own: true},
	"partitionkey":    {set: setNothing, own: true},
	"recordedtime":    {set: setNothing, own: true},
	"id":              {key: "cloudevents_id"},
	"correlationid":   {key: "correlation_id"},
	"causationid":     {key: "causation_id"},
	"source":          {},
	"subject":         {},
	"dataschema":      {},
}

// attributeOf is the name of the attribute that a key of the metadata stands for.
func attributeOf(key string) (name string, ok bool) {
	for name, a := range attributes {
		if a.key != "" && a.key == key {
			return name, true
		}
	}
	a := attributes[key]
	return key, isName(key) && !a.own && a.key == ""
}

// keyOf is the inverse.
func keyOf(name string) string {
	if key := attributes[name].key; key != "" {
		return key
	}
	return name
}

func setNothing(*core.NewEvent, string) error { return nil }

func setSpecVersion(_ *core.NewEvent, value string) error {
	if value != specVersion {
		return core.Errorf(core.CodeInvalidRequest, "specversion is %.80q, not %s", value, specVersion)
	}
	return nil
}

func setType(e *core.NewEvent, value string) error {
	e.Type = value
	return nil
}

func setTime(e *core.NewEvent, value string) (err error) {
	e.Time, err = core.ParseEventTime(value)
	return err
}

// isName reports whether s can be the name of an attribute; data is not one.
func isName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && s != "data"
}

// isValue reports whether an attribute can have the value: text is what it is as a
// string, if it is one.
func isValue(name string, v jsontext.Value) (text string, ok bool) {
	switch v.Kind() {
	case jsontext.KindString:
		unquoted, err := jsontext.AppendUnquote(nil, v)
		text = string(unquoted)
		return text, err == nil && !strings.ContainsFunc(text, unicode.IsControl)
	case jsontext.KindTrue, jsontext.KindFalse:
	case jsontext.KindNumber:
		if _, err := strconv.ParseInt(string(v), 10, 32); err != nil {
			return "", false
		}
	default:
		return "", false
	}
	_, isText := attributes[name]
	return "", !isText
}

// sourceOf is the source of a stream's events that name no other.
func sourceOf(stream string) string { return "/streams/" + url.PathEscape(stream) }

// isJSON reports whether data of a content type is a JSON value.
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == typeJSON || kind == "text/json" || strings.HasSuffix(kind, "+json"))
}

// typeJSON is the content type that events with JSON data have and do not say.
const typeJSON = "application/json"

// saidType is a content type as an event keeps it, which is not at all where it says
// no more than that the data is JSON.
func saidType(contentType string) string {
	kind, params, err := mime.ParseMediaType(contentType)
	charset, has := params["charset"]
	if err == nil && kind == typeJSON && (len(params) == 0 || len(params) == 1 && has && strings.EqualFold(charset, "utf-8")) {
		return ""
	}
	return contentType
}
