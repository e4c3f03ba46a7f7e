package wire

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

// timeLayout has at most 6 fraction digits, without trailing zeros.
const timeLayout = "2006-01-02T15:04:05.999999Z"

// AppendTime appends t in the one form that times have on the wire.
func AppendTime(dst []byte, t time.Time) []byte { return t.UTC().AppendFormat(dst, timeLayout) }

// FormatTime is AppendTime as a string.
func FormatTime(t time.Time) string { return t.UTC().Format(timeLayout) }

// AppendEventJSON appends the event object of e to dst. It has no line breaks, so
// that it can stand in a line of its own. A link without what it names has no data.
func AppendEventJSON(dst []byte, e *core.Event) []byte {
	dst = append(dst, `{"stream":`...)
	dst = appendString(dst, e.Stream)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendUint(dst, e.Version, 10)
	dst = append(dst, `,"position":`...)
	dst = strconv.AppendUint(dst, e.Position, 10)
	dst = append(dst, `,"id":"`...)
	dst, _ = e.ID.AppendText(dst)
	dst = append(dst, `","type":`...)
	dst = appendString(dst, e.Type)
	dst = append(dst, `,"time":"`...)
	start := len(dst)
	dst = AppendTime(dst, e.Time)
	end := len(dst)
	dst = append(dst, `","recorded":"`...)
	if e.Recorded.Equal(e.Time) {
		dst = append(dst, dst[start:end]...)
	} else {
		dst = AppendTime(dst, e.Recorded)
	}
	dst = append(dst, '"')
	switch {
	case e.Format == core.JSON && len(e.Data) == 0: // a link without what it names
	case e.Format == core.JSON:
		dst = append(dst, `,"data":`...)
		dst = appendInLine(dst, e.Data)
	default:
		dst = append(dst, `,"dataBase64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, e.Data)
		dst = append(dst, '"')
	}
	if e.ContentType != "" {
		dst = append(dst, `,"contentType":`...)
		dst = appendString(dst, e.ContentType)
	}
	dst = append(dst, `,"metadata":`...)
	if len(e.Metadata) == 0 {
		dst = append(dst, '{', '}')
	} else {
		dst = appendInLine(dst, e.Metadata)
	}
	if !e.Link.IsZero() {
		dst = appendLink(dst, &e.Link)
	}
	return append(dst, '}')
}

// appendLink appends where the event is that is read through a link.
func appendLink(dst []byte, o *core.Origin) []byte {
	dst = append(dst, `,"link":{"stream":`...)
	dst = appendString(dst, o.Stream)
	dst = append(dst, `,"version":`...)
	dst = strconv.AppendUint(dst, o.Version, 10)
	dst = append(dst, `,"position":`...)
	dst = strconv.AppendUint(dst, o.Position, 10)
	return append(dst, '}')
}

// AppendAttempt puts into the event object at the end of dst how often the event was
// sent, and whether it is a parked one that is delivered again.
func AppendAttempt(dst []byte, attempt uint64, replay bool) []byte {
	dst = append(dst[:len(dst)-1], `,"attempt":`...)
	dst = strconv.AppendUint(dst, attempt, 10)
	if replay {
		dst = append(dst, `,"replay":true`...)
	}
	return append(dst, '}')
}

// appendString appends s quoted. The names in the log are valid UTF-8; what is
// not is replaced.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendInLine appends a JSON text without its line breaks. Between the tokens
// they mean nothing, and inside a string JSON has none.
func appendInLine(dst, text []byte) []byte {
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		return append(dst, text...)
	}
	for _, c := range text {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}
