package stdio

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/abi"
)

// timeLayout is that of the API: at most 6 fraction digits, without trailing zeros.
const timeLayout = "2006-01-02T15:04:05.999999Z"

// AppendBatch appends the lines of a batch, which abi.OpenBatch reads, to dst. The config is a JSON
// object.
func AppendBatch(dst, batch, config []byte) ([]byte, error) {
	b, err := abi.OpenBatch(batch)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `{"batch":{"events":`...)
	dst = strconv.AppendInt(dst, int64(b.Count), 10)
	dst = append(dst, `,"config":`...)
	dst = append(appendInLine(dst, config), "}}\n"...)
	var e abi.Event
	for {
		ok, err := b.Next(&e)
		if err != nil || !ok {
			return dst, err
		}
		dst = append(AppendEvent(dst, &e), '\n')
	}
}

// AppendEvent appends an event as a JSON object without line breaks. Its members are those of
// wire.AppendEventJSON and wire.AppendAttempt.
func AppendEvent(dst []byte, e *abi.Event) []byte {
	dst = appendString(append(dst, `{"stream":`...), e.Stream)
	dst = strconv.AppendUint(append(dst, `,"version":`...), e.Version, 10)
	dst = strconv.AppendUint(append(dst, `,"position":`...), e.Position, 10)
	dst, _ = core.ID(e.ID).AppendText(append(dst, `,"id":"`...)) // it never fails
	dst = appendString(append(dst, `","type":`...), e.Type)
	own := e.TimeMicros
	if field, ok := e.Field(abi.OwnTime); ok && len(field) == 8 {
		own = int64(binary.LittleEndian.Uint64(field))
	}
	dst = appendTime(append(dst, `,"time":"`...), own)
	dst = appendTime(append(dst, `","recorded":"`...), e.TimeMicros)
	dst = append(dst, '"')
	switch isJSON := e.Flags&abi.JSON != 0; {
	case isJSON && len(e.Data) > 0:
		dst = appendInLine(append(dst, `,"data":`...), e.Data)
	case !isJSON:
		dst = base64.StdEncoding.AppendEncode(append(dst, `,"dataBase64":"`...), e.Data)
		dst = append(dst, '"')
	}
	if kind, ok := e.Field(abi.ContentType); ok {
		dst = appendString(append(dst, `,"contentType":`...), kind)
	}
	dst = append(dst, `,"metadata":`...)
	if len(e.Metadata) == 0 {
		dst = append(dst, '{', '}')
	} else {
		dst = appendInLine(dst, e.Metadata)
	}
	if origin, ok := e.Field(abi.LinkOrigin); ok {
		dst = appendLink(dst, origin)
	}
	dst = strconv.AppendUint(append(dst, `,"attempt":`...), uint64(e.Attempt), 10)
	if e.Flags&abi.Replay != 0 {
		dst = append(dst, `,"replay":true`...)
	}
	return append(dst, '}')
}

// appendLink appends what is linked, which is STREAM@VERSION.
func appendLink(dst, origin []byte) []byte {
	at := bytes.LastIndexByte(origin, '@')
	if at < 0 {
		return dst
	}
	dst = appendString(append(dst, `,"link":{"stream":`...), origin[:at])
	dst = append(append(dst, `,"version":`...), origin[at+1:]...)
	return append(dst, '}')
}

func appendTime(dst []byte, micros int64) []byte {
	return time.UnixMicro(micros).UTC().AppendFormat(dst, timeLayout)
}

// appendString appends s quoted. What is not UTF-8 is replaced.
func appendString(dst, s []byte) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendInLine appends a JSON text without its line breaks, which mean nothing between tokens and
// do not occur inside them.
func appendInLine(dst, text []byte) []byte {
	if !bytes.ContainsAny(text, "\r\n") {
		return append(dst, text...)
	}
	for _, c := range text {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}
