package wsapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// lists are the parameters that may be given more than once.
var lists = []string{"types", "streams", "ids", "positions", "names"}

// refuseQuery refuses parameters that the route does not have, and any but a list that is given
// more than once.
func (r *Route) refuseQuery(q url.Values) error {
	if r.AnyQuery {
		return nil
	}
	for name, values := range q {
		if !slices.Contains(r.Query, name) {
			return core.Errorf(core.CodeInvalidRequest, "query parameter %q is not known here", core.Clip(name))
		}
		if len(values) > 1 && !slices.Contains(lists, name) {
			return core.Errorf(core.CodeInvalidRequest, "query parameter %q is given twice", core.Clip(name))
		}
	}
	return nil
}

// only refuses parameters that the representation does not have.
func only(q url.Values, names ...string) error {
	for name := range q {
		if !slices.Contains(names, name) {
			return core.Errorf(core.CodeInvalidRequest, "query parameter %q is not for this media type", core.Clip(name))
		}
	}
	return nil
}

// atMostOne refuses several parameters that say the same.
func atMostOne(q url.Values, names ...string) error {
	var given []string
	for _, name := range names {
		if q.Has(name) {
			given = append(given, name)
		}
	}
	if len(given) > 1 {
		return core.Errorf(core.CodeInvalidRequest, "a start is %s or %s, not both", given[0], given[1])
	}
	return nil
}

// number is a parameter from least to most; 0 if it is not given.
func Number(q url.Values, name string, least, most uint64) (uint64, error) {
	if !q.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		return 0, core.Errorf(core.CodeInvalidRequest, "%s %q is not a whole number from %d to %d", name, core.Clip(q.Get(name)), least, most)
	}
	return n, nil
}

// isTrue reports whether a parameter is "true"; else it is left out.
func isTrue(q url.Values, name string) (bool, error) {
	value := q.Get(name)
	if q.Has(name) && value != "true" {
		return false, core.Errorf(core.CodeInvalidRequest, `%s is "true", or left out, not %q`, name, core.Clip(value))
	}
	return q.Has(name), nil
}

// pageRequest asks for a page; beyond asks for the empty one that lies beyond an end of
// the stream.
type pageRequest struct {
	core.ReadRequest
	beyond bool
}

// pageQuery takes start, limit and direction of a page from the query.
func pageQuery(q url.Values, maxLimit uint64) (r pageRequest, err error) {
	if err := only(q, append([]string{"from", "after", "limit", "dir", "system"}, selecting...)...); err != nil {
		return r, err
	}
	if r.Select, err = selectionOf(q); err != nil {
		return r, err
	}
	if err := atMostOne(q, "from", "after"); err != nil {
		return r, err
	}
	limit, err := Number(q, "limit", 1, maxLimit)
	if err != nil {
		return r, err
	}
	r.Limit.Events = int(limit)
	if r.System, err = isTrue(q, "system"); err != nil {
		return r, err
	}
	switch dir := q.Get("dir"); dir {
	case "", "forward":
	case "backward":
		r.Backward = true
	default:
		return r, core.Errorf(core.CodeInvalidRequest, `dir %q is neither "forward" nor "backward"`, core.Clip(dir))
	}
	if q.Has("after") {
		return r, r.setAfter(q)
	}
	switch q.Get("from") {
	case "start", "origin":
		r.beyond = r.Backward
	case "end", "current":
		r.beyond = !r.Backward
	default:
		err = r.setFrom(q)
	}
	return r, err
}

// selecting are the parameters of a page's selection.
var selecting = []string{"category", "types", "streams", "since", "until", "correlation"}

// selectionOf takes the selection of a page from the query.
func selectionOf(q url.Values) (core.Selection, error) {
	s := wire.Selection{
		Filter:   &wire.Filter{Types: q["types"], Streams: q["streams"]},
		Category: given(q, "category"), Since: given(q, "since"), Until: given(q, "until"), Correlation: given(q, "correlation"),
	}
	return s.Core()
}

// given is a parameter; nil if it is not given.
func given(q url.Values, name string) *string {
	if !q.Has(name) {
		return nil
	}
	value := q.Get(name)
	return &value
}

// appendSelection adds the parameters of the selection of a page to q.
func appendSelection(q, of url.Values) {
	for _, name := range selecting {
		if of.Has(name) {
			q[name] = of[name]
		}
	}
}

// setFrom has r begin with a version, or a position of $all, or at a time. Backward, nothing is at or
// before 0.
func (r *pageRequest) setFrom(q url.Values) error {
	from := given(q, "from")
	if from == nil {
		return nil
	}
	var err error
	if _, isTime := core.ParseTime(*from); isTime {
		r.FromTime, err = wire.ParseTime(core.CodeInvalidRequest, "from", from)
		return err
	}
	if r.From, err = Number(q, "from", 0, core.MaxNumber); err != nil {
		return core.Errorf(core.CodeInvalidRequest, "from %q is neither start, end, a whole number from 0 to %d "+
			"nor a time of RFC 3339 with a zone, such as 2026-11-23T10:00:00Z", core.Clip(*from), core.MaxNumber)
	}
	r.beyond = r.Backward && r.From == 0
	return nil
}

// setAfter has r begin behind a version, or a position of $all, in its direction.
func (r *pageRequest) setAfter(q url.Values) error {
	after, err := Number(q, "after", 0, core.MaxNumber)
	switch {
	case err != nil:
		return err
	case r.Backward:
		r.From = max(after, 1) - 1
		r.beyond = r.From == 0
	default:
		r.From = min(after+1, core.MaxNumber)
		r.beyond = after == core.MaxNumber
	}
	return nil
}

// tailQuery takes the start and the filter of an event stream from a request.
func tailQuery(r *http.Request, stream string) (core.FollowRequest, error) {
	q := r.URL.Query()
	f := core.FollowRequest{Stream: stream, Filter: core.Filter{Types: q["types"], Streams: q["streams"]}}
	if err := only(q, "from", "after", "cursor", "progress", "types", "streams", "system"); err != nil {
		return f, err
	}
	cursor := q.Get("cursor")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		cursor = last // a browser that comes back knows better than its URL
	} else if err := atMostOne(q, "from", "after", "cursor", "progress"); err != nil {
		return f, err
	}
	var err error
	if f.System, err = isTrue(q, "system"); err != nil {
		return f, err
	}
	switch {
	case cursor != "":
		var c core.Cursor
		c, err = core.ParseCursor(cursor)
		f.From = c.From()
	case q.Has("progress"):
		f.From = core.From{Kind: core.AfterProgress, Progress: q.Get("progress")}
	case q.Has("after"):
		var after uint64
		after, err = Number(q, "after", 0, core.MaxNumber)
		f.From = core.FromAfter(after, stream)
	case q.Has("from"):
		f.From, err = core.ParseFrom(q.Get("from"), stream)
	}
	return f, err
}
