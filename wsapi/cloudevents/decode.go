package cloudevents

import (
	"cmp"
	"crypto/sha1"
	"encoding/base64"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// headerPrefix is before the names of attributes that are headers, in Go's spelling.
const headerPrefix = "Ce-"

// IsBinary reports whether a request has a CloudEvent's attributes in its headers.
func IsBinary(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, headerPrefix) {
			return true
		}
	}
	return false
}

// DecodeBatch decodes a batch in JSON, whose events are to be appended to stream. The
// error names the event, counted from 0.
func DecodeBatch(text []byte, stream string) ([]core.NewEvent, error) {
	var texts []jsontext.Value
	if err := wire.Unmarshal(text, &texts); err != nil {
		return nil, err
	}
	events := make([]core.NewEvent, len(texts))
	for i, text := range texts {
		var err error
		if events[i], err = Decode(text, stream); err != nil {
			e := core.AsError(err)
			return nil, core.Errorf(e.Code, "event %d: %s", i, e.Detail)
		}
	}
	return events, nil
}

// Decode decodes a CloudEvent in JSON that is to be appended to stream.
func Decode(text []byte, stream string) (core.NewEvent, error) {
	var members map[string]jsontext.Value
	if err := wire.Unmarshal(text, &members); err != nil {
		return core.NewEvent{}, err
	}
	maps.DeleteFunc(members, func(_ string, v jsontext.Value) bool { return v.Kind() == jsontext.KindNull })
	data, encoded := members["data"], members["data_base64"]
	delete(members, "data")
	delete(members, "data_base64")
	e, contentType, err := newEvent(members, stream)
	if err != nil {
		return e, err
	}
	if err := setJSON(&e, contentType, data, encoded); err != nil {
		return e, err
	}
	return e, wire.CheckEvent(&e)
}

// DecodeBinary decodes a CloudEvent in binary mode that is to be appended to stream.
func DecodeBinary(h http.Header, body []byte, stream string) (core.NewEvent, error) {
	members := map[string]jsontext.Value{}
	for header, values := range h {
		name, ok := strings.CutPrefix(header, headerPrefix)
		name = strings.ToLower(name)
		if !ok {
			continue
		}
		if len(values) > 1 || name == "datacontenttype" {
			return core.NewEvent{}, core.Errorf(core.CodeInvalidRequest, "header ce-%.80s stands there twice, or is Content-Type", name)
		}
		text, err := decodeHeader(values[0])
		if err == nil {
			members[name], err = jsontext.AppendQuote(nil, text)
		}
		if err != nil {
			return core.NewEvent{}, core.Errorf(core.CodeInvalidRequest, "header ce-%.80s is not percent-encoded UTF-8", name)
		}
	}
	if contentType := h.Get("Content-Type"); contentType != "" {
		members["datacontenttype"], _ = jsontext.AppendQuote(nil, contentType) // what is not UTF-8 is no media type
	}
	e, contentType, err := newEvent(members, stream)
	if err != nil {
		return e, err
	}
	if len(body) == 0 {
		contentType = cmp.Or(contentType, typeJSON)
	}
	setBytes(&e, contentType, body)
	return e, wire.CheckEvent(&e)
}

// decodeHeader takes the value of an attribute from a header: percent-encoded, and
// perhaps a quoted string.
func decodeHeader(value string) (string, error) {
	if inner, ok := strings.CutPrefix(value, `"`); ok {
		if inner, ok = strings.CutSuffix(inner, `"`); ok {
			value = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(inner)
		}
	}
	text, err := url.PathUnescape(value)
	if err == nil && !utf8.ValidString(text) {
		err = url.EscapeError(value)
	}
	return text, err
}

// newEvent makes an event of the attributes; what it has no place for becomes its
// metadata. Its data is left to the caller, with its content type.
func newEvent(members map[string]jsontext.Value, stream string) (e core.NewEvent, contentType string, err error) {
	texts := make(map[string]string, len(members))
	names := slices.Sorted(maps.Keys(members))
	for _, name := range names {
		if !isName(name) {
			return e, "", core.Errorf(core.CodeInvalidRequest, "attribute name %.80q is not of lower-case letters and digits", name)
		}
		var ok bool
		if texts[name], ok = isValue(name, members[name]); !ok {
			return e, "", core.Errorf(core.CodeInvalidRequest, "attribute %.80s cannot be %.80s", name, members[name])
		}
	}
	for _, name := range required {
		if texts[name] == "" {
			return e, "", core.Errorf(core.CodeInvalidRequest, "attribute %s is missing", name)
		}
	}
	contentType = texts["datacontenttype"]
	if _, _, err := mime.ParseMediaType(contentType); contentType != "" && err != nil {
		return e, "", core.Errorf(core.CodeInvalidContentType, "datacontenttype %.80q is not a media type", contentType)
	}
	known := map[string]string{"source": sourceOf(stream), "subject": stream}
	e.ID = eventID(texts["source"], texts["id"], stream)
	known["id"] = e.ID.String()
	for _, name := range names {
		switch set := attributes[name].set; {
		case set != nil:
			if err := set(&e, texts[name]); err != nil {
				return e, "", err
			}
		case known[name] == "" || known[name] != texts[name]:
			e.Metadata = appendMember(e.Metadata, keyOf(name), members[name])
		}
	}
	if e.Metadata != nil {
		e.Metadata = append(e.Metadata, '}')
	}
	return e, contentType, nil
}

// eventID is the id of the event that a CloudEvent becomes. Source and id together
// identify a CloudEvent, so that the event's id is made of both: one id from two sources is
// two events, and a CloudEvent that is sent again is found. A CloudEvent whose source is
// its stream's own, as of events that were read from a stream of that name, keeps a UUID.
func eventID(source, id, stream string) core.ID {
	if parsed, err := core.ParseID(id); err == nil && source == sourceOf(stream) && id == parsed.String() {
		return parsed
	}
	// UUIDv5, as of RFC 9562. A NUL is in neither of the two.
	sum := sha1.Sum(slices.Concat(idSpace[:], []byte(source), []byte{0}, []byte(id)))
	made := core.ID(sum[:16])
	made[6] = made[6]&0x0f | 0x50
	made[8] = made[8]&0x3f | 0x80
	return made
}

// idSpace is the name space of those ids.
var idSpace = core.ID{0x8c, 0x1f, 0x52, 0x0e, 0x6d, 0x0b, 0x4f, 0x4c, 0x9a, 0x37, 0x21, 0xd4, 0x5e, 0x70, 0xb8, 0x63}

// appendMember adds a member to an object that is not closed yet.
func appendMember(object []byte, key string, value jsontext.Value) []byte {
	if object == nil {
		object = append(object, '{')
	} else {
		object = append(object, ',')
	}
	object, _ = jsontext.AppendQuote(object, key) // of ASCII
	object = append(object, ':')
	return append(object, value...)
}

// setJSON takes the data from the members of a CloudEvent in JSON.
func setJSON(e *core.NewEvent, contentType string, data, encoded jsontext.Value) error {
	switch {
	case data != nil && encoded != nil:
		return core.Errorf(core.CodeInvalidData, "a CloudEvent has data or data_base64, not both")
	case encoded != nil:
		text, err := jsontext.AppendUnquote(nil, encoded)
		if err == nil {
			text, err = base64.StdEncoding.Strict().AppendDecode(nil, text)
		}
		if err != nil {
			return core.Errorf(core.CodeInvalidData, "data_base64 is not a string of base64 with padding")
		}
		setBytes(e, contentType, text)
	case data == nil:
		setBytes(e, cmp.Or(contentType, typeJSON), nil)
	case contentType == "" || isJSON(contentType):
		e.Data, e.ContentType = data, saidType(contentType)
	case data.Kind() == jsontext.KindString:
		text, err := jsontext.AppendUnquote(nil, data)
		if err != nil {
			return core.Errorf(core.CodeInvalidData, "data is not a valid string")
		}
		setBytes(e, contentType, text)
	default:
		return core.Errorf(core.CodeInvalidData, "data of content type %.80q is a string, or data_base64", contentType)
	}
	return nil
}

// setBytes takes data as it is. Where the content type is JSON's, that is a JSON
// value, and null if there is none.
func setBytes(e *core.NewEvent, contentType string, data []byte) {
	if !isJSON(contentType) {
		e.Format, e.Data, e.ContentType = core.Bytes, data, contentType
		return
	}
	if len(data) == 0 {
		data = []byte("null")
	}
	e.Data, e.ContentType = data, saidType(contentType)
}
