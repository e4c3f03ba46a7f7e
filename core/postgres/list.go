package postgres

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// Records is core.Engine's.
func (e *Engine) Records(ctx context.Context, r core.RecordsRequest) (records []core.Record, err error) {
	if len(r.Keys) == 1 {
		return e.record(ctx, &r, r.Keys[0])
	}
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

// record returns the record with a key, if r selects it. A load of a stream begins with it, so it
// is planned once for each connection.
func (e *Engine) record(ctx context.Context, r *core.RecordsRequest, key string) (records []core.Record, err error) {
	if !strings.HasPrefix(key, r.Prefix) || key <= r.After {
		return nil, nil
	}
	err = e.read(ctx, func(ctx context.Context, c *pgx.Conn) error {
		results, err := e.flush(ctx, c, send{e.sql.settings, nil}, send{e.sql.record, [][]byte{[]byte(r.Table), []byte(key)}})
		if err != nil {
			return &acquireError{err}
		}
		records = nil
		if results.NextResult() { // Close has the error, if there is none
			_, _ = results.ResultReader().Close()
		}
		if results.NextResult() {
			for rows := results.ResultReader(); rows.NextRow(); {
				v := rows.Values()
				records = append(records, core.Record{Key: key, Revision: uint64Of(v[0]), Value: slices.Clone(v[1])})
			}
		}
		return results.Close()
	})
	return records, err
}

// recordsQuery is what records are asked for with. Keys and ranges are looked for in the
// index one by one, whatever the statistics say.
func (e *Engine) recordsQuery(r *core.RecordsRequest) (sql string, args []any) {
	records := `SELECT key, revision, value FROM ` + e.config.schema() + `.records WHERE tbl = $1 AND key > $2`
	args = []any{r.Table, []byte(r.After), r.Limit}
	switch {
	case r.Keys != nil:
		sql = `SELECT r.key, r.revision, r.value FROM unnest($4::bytea[]) AS k (key),
			LATERAL (` + records + ` AND key = k.key LIMIT 1) r`
		keys := make([][]byte, 0, len(r.Keys))
		for _, key := range slices.Compact(slices.Sorted(slices.Values(r.Keys))) {
			if strings.HasPrefix(key, r.Prefix) {
				keys = append(keys, []byte(key))
			}
		}
		args = append(args, keys)
	case r.Ranges != nil:
		sql = `SELECT r.key, r.revision, r.value FROM unnest($4::bytea[], $5::bytea[]) AS k (after, before),
			LATERAL (` + records + ` AND key > k.after AND key < k.before ORDER BY key LIMIT $3) r`
		after, before := make([][]byte, len(r.Ranges)), make([][]byte, len(r.Ranges))
		for i, k := range r.Ranges {
			after[i], before[i] = []byte(k.After), []byte(k.Before)
		}
		args = append(args, after, before)
	default:
		sql = records + ` AND key >= $4`
		args = append(args, []byte(r.Prefix))
		if end := prefixEnd(r.Prefix); end != "" {
			sql += ` AND key < $5`
			args = append(args, []byte(end))
		}
	}
	return sql + ` ORDER BY key LIMIT $3`, args
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
