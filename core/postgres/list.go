package postgres

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// Streams is core.Engine's.
func (e *Engine) Streams(ctx context.Context, r core.StreamsRequest) (page core.StreamsPage, err error) {
	// Streams that have no events yet are not there.
	sql := `SELECT x.name, x.version FROM (
			SELECT s.name, greatest(s.version, (SELECT e.version FROM ` + e.config.Store + `.events e
				WHERE e.stream = s.id ORDER BY e.version DESC LIMIT 1)) AS version
			FROM ` + e.config.Store + `.streams s WHERE s.name > $1 AND s.name >= $2`
	args := []any{r.After, r.Prefix, r.Limit + 1}
	if end := prefixEnd(r.Prefix); end != "" {
		sql += ` AND s.name < $4`
		args = append(args, end)
	}
	sql += `) x WHERE x.version > 0 ORDER BY x.name LIMIT $3`
	err = e.list(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		page = core.StreamsPage{End: true}
		var s core.StreamInfo
		_, err = pgx.ForEachRow(rows, []any{&s.Name, &s.Version}, func() error {
			if len(page.Streams) == r.Limit {
				page.End = false
				return nil
			}
			page.Streams = append(page.Streams, s)
			return nil
		})
		return err
	})
	return page, err
}

// Records is core.Engine's.
func (e *Engine) Records(ctx context.Context, r core.RecordsRequest) (records []core.Record, err error) {
	sql, args := e.recordsQuery(&r)
	err = e.list(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		records = nil
		var key, value []byte
		var revision uint64
		_, err = pgx.ForEachRow(rows, []any{&key, &revision, &value}, func() error {
			records = append(records, core.Record{Key: string(key), Revision: revision, Value: value})
			value = nil // is the record's now
			return nil
		})
		return err
	})
	return records, err
}

// recordsQuery is what records are asked for with.
func (e *Engine) recordsQuery(r *core.RecordsRequest) (sql string, args []any) {
	table := e.config.Store + `.records`
	if r.Ranges != nil {
		after, before := make([][]byte, len(r.Ranges)), make([][]byte, len(r.Ranges))
		for i, k := range r.Ranges {
			after[i], before[i] = []byte(max(k.After, r.After)), []byte(k.Before)
		}
		// One look into the index for each range, whatever the statistics say.
		return `SELECT r.key, r.revision, r.value FROM unnest($2::bytea[], $3::bytea[]) AS k (after, before), LATERAL (
				SELECT key, revision, value FROM ` + table + ` WHERE tbl = $1 AND key > k.after AND key < k.before ORDER BY key LIMIT $4) r
			ORDER BY r.key LIMIT $4`, []any{r.Table, after, before, r.Limit}
	}
	sql = `SELECT key, revision, value FROM ` + table + ` WHERE tbl = $1 AND key > $2 AND key >= $3`
	args = []any{r.Table, []byte(r.After), []byte(r.Prefix), r.Limit}
	if end := prefixEnd(r.Prefix); end != "" {
		args = append(args, []byte(end))
		sql += ` AND key < $5`
	}
	if r.Keys != nil {
		keys := make([][]byte, len(r.Keys))
		for i, key := range r.Keys {
			keys[i] = []byte(key)
		}
		args = append(args, keys)
		sql += fmt.Sprintf(` AND key = ANY ($%d)`, len(args))
	}
	return sql + ` ORDER BY key LIMIT $4`, args
}

// prefixEnd is the least text that comes after everything that begins with
// prefix; "" if there is none.
func prefixEnd(prefix string) string {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == utf8.MaxRune:
			continue
		case last == 0xd7ff: // the surrogates, which no text has, come next
			return prefix + "\ue000"
		}
		return prefix + string(last+1)
	}
	return ""
}

// list is read with all settings: what it asks for comes as text.
func (e *Engine) list(ctx context.Context, call func(ctx context.Context, c *pgx.Conn) error) error {
	return e.read(ctx, func(ctx context.Context, c *pgx.Conn) error {
		return withSettings(ctx, c, func() error { return call(ctx, c) })
	})
}
