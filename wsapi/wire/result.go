package wire

import (
	"strconv"

	"github.com/gyre-events/gyre/core"
)

// AppendResult appends the fields of an append's answer, without braces: the same in a
// reply and in an HTTP body. tx asks for the form of a transaction, which has a part
// for each stream; else there is one append, or none where a progress was all.
func AppendResult(dst []byte, r core.Result, tx bool) []byte {
	count := 0
	for i := range r.Appends {
		count += r.Appends[i].Count()
	}
	if !tx && len(r.Appends) > 0 {
		dst = append(dst, `"version":`...)
		dst = strconv.AppendUint(dst, r.Appends[0].LastVersion, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"position":`...)
	dst = strconv.AppendUint(dst, r.Position, 10)
	dst = append(dst, `,"count":`...)
	dst = strconv.AppendInt(dst, int64(count), 10)
	if r.Duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	if r.Node != "" {
		dst = append(dst, `,"node":`...)
		dst = appendString(dst, r.Node)
	}
	if tx {
		dst = append(dst, `,"appends":[`...)
		for i := range r.Appends {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendAppended(dst, &r.Appends[i])
		}
		dst = append(dst, ']')
	}
	return dst
}

func appendAppended(dst []byte, a *core.Appended) []byte {
	dst = append(dst, `{"version":`...)
	dst = strconv.AppendUint(dst, a.LastVersion, 10)
	dst = append(dst, `,"position":`...)
	dst = strconv.AppendUint(dst, a.LastPosition, 10)
	dst = append(dst, `,"count":`...)
	dst = strconv.AppendInt(dst, int64(a.Count()), 10)
	return append(dst, '}')
}

// AppendEvents appends the event objects of a batch as an array. attempts are those of
// a named subscription, one for each event; otherwise nil. replay is of those, too.
func AppendEvents(dst []byte, b core.Batch, attempts []uint64, replay bool) []byte {
	dst = append(dst, '[')
	i := 0
	for e := range b.Events() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendEventJSON(dst, &e)
		if attempts != nil {
			dst = AppendAttempt(dst, attempts[i], replay)
		}
		i++
	}
	return append(dst, ']')
}

// AppendPageEnd appends the fields of a page that follow its events.
func AppendPageEnd(dst []byte, page *core.Page) []byte {
	if page.Next > 0 {
		dst = append(dst, `"next":`...)
		dst = strconv.AppendUint(dst, page.Next, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"end":`...)
	dst = strconv.AppendBool(dst, page.End)
	if page.Scanned > 0 {
		dst = append(dst, `,"scanned":`...)
		dst = strconv.AppendUint(dst, page.Scanned, 10)
	}
	dst = append(dst, `,"version":`...)
	return strconv.AppendUint(dst, page.Version, 10)
}
