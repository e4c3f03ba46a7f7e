package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// Streams is core.Engine's.
func (e *Engine) Streams(ctx context.Context, r core.StreamsRequest) (page core.StreamsPage, err error) {
	err = e.list(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		switch {
		case r.Names != nil:
			page, err = e.namedStreams(ctx, c, &r)
		case r.Sort == core.ByName:
			page, err = e.streamsByName(ctx, c, &r)
		default:
			page, err = e.walkStreams(ctx, c, &r)
		}
		return err
	})
	return page, err
}

// hasVersion is that a row of streamFacts is of a stream that is there: it has had events, if
// only links to what was removed.
const hasVersion = `greatest(s.version, l.version) > 0`

// isLeft passes over links to what was removed. Some of them may not be deleted yet.
const isLeft = `(e.link IS NULL OR EXISTS (
	SELECT FROM {schema}.events h WHERE h.position = e.link AND ` + homeNotRemoved + `))`

// streamFacts joins to a row s of streams its last event as l and, with details, the first one
// that is left as f, and the last one as k where l is a link.
func (e *Engine) streamFacts(details bool) string {
	if !details {
		return `LEFT JOIN LATERAL (SELECT e.version FROM {schema}.events e WHERE e.stream = s.id ORDER BY e.version DESC LIMIT 1) l ON true`
	}
	return `LEFT JOIN LATERAL (SELECT e.version, e.position, e.recorded, e.link FROM {schema}.events e WHERE e.stream = s.id ORDER BY e.version DESC LIMIT 1) l ON true
		LEFT JOIN LATERAL (SELECT e.position, e.recorded FROM {schema}.events e WHERE l.link IS NOT NULL AND e.stream = s.id AND ` + isLeft + ` ORDER BY e.version DESC LIMIT 1) k ON true
		LEFT JOIN LATERAL (SELECT e.version, e.position, e.recorded FROM {schema}.events e WHERE e.stream = s.id AND ` + isLeft + ` ORDER BY e.version LIMIT 1) f ON true`
}

// factColumns are what selectedStream scans.
func factColumns(details bool) string {
	if details {
		return `s.name, s.state, greatest(s.version, l.version), coalesce(f.version, greatest(s.version, l.version) + 1), f.position, f.recorded,
			CASE WHEN l.link IS NULL THEN l.position ELSE k.position END, CASE WHEN l.link IS NULL THEN l.recorded ELSE k.recorded END`
	}
	return `s.name, s.state, greatest(s.version, l.version), 1::bigint, NULL::bigint, NULL::timestamptz, NULL::bigint, NULL::timestamptz`
}

// queryStreams calls add for every stream that a query selects.
func (e *Engine) queryStreams(ctx context.Context, c *pgx.Conn, sql string, args []any, add func(core.StreamInfo) error) error {
	var name string
	var state core.StreamState
	var version, first uint64
	var created, changed *uint64
	var createdAt, changedAt *time.Time
	return e.eachRow(ctx, c, sql, args, []any{&name, &state, &version, &first, &created, &createdAt, &changed, &changedAt}, func() error {
		info := core.StreamInfo{Name: name, Version: version, First: first, State: state}
		if created != nil && createdAt != nil {
			info.Created = core.StreamPlace{Position: *created, Recorded: createdAt.UTC()}
		}
		if changed != nil && changedAt != nil {
			info.Changed = core.StreamPlace{Position: *changed, Recorded: changedAt.UTC()}
		}
		return add(info)
	})
}

// eachRow scans the rows of a query and calls row for each. The settings of its plan go in the
// same flush: without statistics the server would sort all streams for a page of some.
func (e *Engine) eachRow(ctx context.Context, c *pgx.Conn, sql string, args, scans []any, row func() error) error {
	var batch pgx.Batch
	batch.Queue(`SELECT ` + settings)
	batch.Queue(strings.ReplaceAll(sql, "{schema}", e.config.schema()), args...)
	results := c.SendBatch(ctx, &batch)
	_, err := results.Exec()
	if err == nil {
		var rows pgx.Rows
		if rows, err = results.Query(); err == nil {
			_, err = pgx.ForEachRow(rows, scans, row)
		}
	}
	return cmp.Or(err, results.Close())
}

func (e *Engine) namedStreams(ctx context.Context, c *pgx.Conn, r *core.StreamsRequest) (core.StreamsPage, error) {
	page := core.StreamsPage{End: true, Looked: len(r.Names)}
	sql := `SELECT ` + factColumns(r.Details) + ` FROM unnest($1::text[]) WITH ORDINALITY n(name, ord)
		JOIN {schema}.streams s ON s.name = n.name ` + e.streamFacts(r.Details) + ` WHERE ` + hasVersion + ` ORDER BY n.ord`
	err := e.queryStreams(ctx, c, sql, []any{r.Names}, func(i core.StreamInfo) error {
		page.Streams = append(page.Streams, i)
		return nil
	})
	return page, err
}

func (e *Engine) streamsByName(ctx context.Context, c *pgx.Conn, r *core.StreamsRequest) (core.StreamsPage, error) {
	where, order := []string{hasVersion, "s.name >= $2"}, "s.name"
	args := []any{r.Limit + 1, r.Prefix}
	and := func(format string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(format, len(args)))
	}
	if end := prefixEnd(r.Prefix); end != "" {
		and("s.name < $%d", end)
	}
	switch {
	case r.Descending:
		if order = "s.name DESC"; r.After != "" {
			and("s.name < $%d", r.After)
		}
	default:
		and("s.name > $%d", r.After)
	}
	if !r.System {
		where = append(where, "(s.name < '$' OR s.name >= '%')")
	}
	page := core.StreamsPage{End: true}
	sql := `SELECT ` + factColumns(r.Details) + ` FROM {schema}.streams s ` + e.streamFacts(r.Details) +
		` WHERE ` + strings.Join(where, " AND ") + ` ORDER BY ` + order + ` LIMIT $1`
	err := e.queryStreams(ctx, c, sql, args, func(i core.StreamInfo) error {
		if len(page.Streams) == r.Limit {
			page.End, page.Next = false, page.Streams[r.Limit-1].Name
			return nil
		}
		page.Looked++
		page.Streams = append(page.Streams, i)
		return nil
	})
	return page, err
}

// walkStreams goes through the log, more entries at once than the time before. A stream is
// listed where its first event is, or its last.
func (e *Engine) walkStreams(ctx context.Context, c *pgx.Conn, r *core.StreamsRequest) (core.StreamsPage, error) {
	w := streamWalk{r: r, after: r.AfterPosition()}
	if r.After == "" && r.Descending {
		w.after = core.MaxNumber
	}
	for atOnce := min(4*r.Limit, core.MaxReadEvents); !w.done; atOnce = 4 * atOnce {
		if err := e.walkOnce(ctx, c, &w, min(atOnce, core.MaxStreamsWalk-w.page.Looked)); err != nil {
			return w.page, err
		}
	}
	if len(w.found) == 0 {
		return w.page, nil
	}
	names := make([]string, len(w.found))
	for i := range w.found {
		names[i] = w.found[i].name
	}
	named, err := e.namedStreams(ctx, c, &core.StreamsRequest{Names: names, Details: r.Details})
	for _, info := range named.Streams {
		for w.found[0].name != info.Name { // is gone by now
			w.found = w.found[1:]
		}
		if r.Sort == core.ByCreated {
			info.Created = w.found[0].place
		} else {
			info.Changed = w.found[0].place
		}
		w.page.Streams = append(w.page.Streams, info)
	}
	return w.page, err
}

// streamWalk is a page of streams in the order of their first or last events.
type streamWalk struct {
	r     *core.StreamsRequest
	page  core.StreamsPage
	found []foundStream
	after uint64 // the position that was looked at last
	done  bool
}

// foundStream is a stream, and the event that it is listed at.
type foundStream struct {
	name  string
	place core.StreamPlace
}

// walkOnce looks at some entries.
func (e *Engine) walkOnce(ctx context.Context, c *pgx.Conn, w *streamWalk, atOnce int) error {
	beyond, order := "e.position > $1", "position"
	if w.r.Descending {
		beyond, order = "e.position < $1", "position DESC"
	}
	ends := func(order string) string {
		return `e.version = (SELECT e.version FROM {schema}.events e WHERE e.stream = s.id AND ` + isLeft + ` ORDER BY e.` + order + ` LIMIT 1)`
	}
	listed := ends("version DESC")
	if w.r.Sort == core.ByCreated {
		// Where links were removed, the first event that is left may have a later version.
		listed = `(CASE WHEN EXISTS (SELECT FROM {schema}.changes) THEN ` + ends("version") + ` ELSE e.version = 1 END)`
	}
	sql := `SELECT e.position, e.recorded, coalesce(s.name, ''), coalesce(` + listed + `, false)
		FROM (SELECT e.position, e.recorded, e.stream, e.version FROM {schema}.events e
			WHERE ` + beyond + ` ORDER BY e.` + order + ` LIMIT $2) e
		LEFT JOIN {schema}.streams s ON s.id = e.stream ORDER BY e.` + order
	looked := 0
	var at core.StreamPlace
	var name string
	var isListed bool
	err := e.eachRow(ctx, c, sql, []any{int64(w.after), atOnce}, []any{&at.Position, &at.Recorded, &name, &isListed}, func() error {
		if looked++; !w.done {
			w.take(name, at, isListed)
		}
		return nil
	})
	if looked < atOnce && !w.done {
		w.page.End, w.page.Next, w.done = true, "", true
	}
	return err
}

// take takes an entry. The page is full when there is one stream more. A stream that has
// changed since it was found is listed where it is found last.
func (w *streamWalk) take(name string, at core.StreamPlace, listed bool) {
	listed = listed && w.r.Lists(name)
	if listed {
		w.found = slices.DeleteFunc(w.found, func(f foundStream) bool { return f.name == name })
	}
	if listed && len(w.found) == w.r.Limit {
		w.done = true
		return
	}
	if listed {
		at.Recorded = at.Recorded.UTC()
		w.found = append(w.found, foundStream{name, at})
	}
	w.after = at.Position
	w.page.Looked++
	w.page.Next = core.StreamsAfter(at.Position)
	w.done = w.page.Looked >= core.MaxStreamsWalk
}
