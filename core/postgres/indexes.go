package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// IndexState is how far an index has come.
type IndexState string

// The states. An unfinished index serves no query and costs as much as another:
// whoever built it was interrupted, or is still building it.
const (
	IndexMissing    IndexState = "missing"
	IndexUnfinished IndexState = "unfinished"
	IndexReady      IndexState = "ready"
)

// Index is one that a store need not have: nodes do without, and keep what is
// there. Every append pays for it. It serves people who search events_json with SQL; type also
// serves reads of $all that select one type, and links a node that deletes what was removed.
type Index struct {
	Name  string // as people ask for it
	State IndexState
	Bytes int64

	relation, on string
}

// optionalIndexes are those that a store may have.
var optionalIndexes = []Index{
	// Where no event has one, it costs nothing.
	{Name: "correlation", relation: "events_correlation", on: "(correlation) WHERE correlation IS NOT NULL"},
	typeIndex,
	// The earliest and the latest time of each range of pages. Events come in the order
	// of their times mostly, so that it finds what is between two of them.
	{Name: "time", relation: "events_time", on: "USING brin (coalesce(time, recorded)) WITH (autosummarize = on)"},
	linkIndex,
}

// typeIndex finds the events of a type. With the position, the last ones are at its end.
var typeIndex = Index{Name: "type", relation: "events_type", on: "(type, position)"}

// linkIndex finds the links to an event. Only links pay for it. A node makes it when it has
// removed a stream for the first time.
var linkIndex = Index{Name: "links", relation: "events_link", on: "(link) WHERE link IS NOT NULL"}

const (
	// smallTableBytes is what is indexed so soon that nobody notices that appends
	// wait for it. On larger tables they do not wait, and the index waits for
	// every transaction that is open anywhere in the database.
	smallTableBytes = 8 << 20

	// maxBuildTime bounds the making of an index. A large log takes its time; the
	// caller's context ends it before.
	maxBuildTime = 24 * time.Hour
)

// Indexes lists the indexes that a store may have.
func Indexes(ctx context.Context, config Config) (list []Index, err error) {
	err = config.ask(ctx, func(ctx context.Context, c *pgx.Conn) error {
		for _, x := range optionalIndexes {
			if err := x.look(ctx, c, config.Store); err != nil {
				return err
			}
			list = append(list, x)
		}
		return nil
	})
	return list, err
}

// look asks for the state of x.
func (x *Index) look(ctx context.Context, c *pgx.Conn, schema string) error {
	var valid bool
	err := c.QueryRow(ctx, `SELECT i.indisvalid, pg_relation_size(c.oid) FROM pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indexrelid = c.oid
		WHERE n.nspname = $1 AND c.relname = $2`, schema, x.relation).Scan(&valid, &x.Bytes)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		x.State = IndexMissing
		return nil
	case valid:
		x.State = IndexReady
	default:
		x.State = IndexUnfinished
	}
	return err
}

// findIndexes are those of the names.
func findIndexes(names []string) (list []Index, err error) {
	for _, name := range names {
		found := false
		for _, x := range optionalIndexes {
			if found = x.Name == name; found {
				list = append(list, x)
				break
			}
		}
		if !found {
			return nil, core.Errorf(core.CodeInvalidRequest, "there is no index %q; there are %s", name, indexNames())
		}
	}
	return list, nil
}

func indexNames() string {
	names := make([]string, len(optionalIndexes))
	for i, x := range optionalIndexes {
		names[i] = x.Name
	}
	return strings.Join(names, ", ")
}

// create is the SQL that makes x, unless it is there.
func (x *Index) create(schema, how string) string {
	return fmt.Sprintf("CREATE INDEX%s IF NOT EXISTS %s ON %s.events %s", how, x.relation, quoted(schema), x.on)
}

const concurrently = " CONCURRENTLY"

// makeIndexes makes what is not there, and makes again what somebody did not finish.
// Several may do so at once.
func makeIndexes(ctx context.Context, config *Config, list []Index) error {
	if len(list) == 0 {
		return nil
	}
	return config.alone(ctx, maxBuildTime, writes, func(ctx context.Context, c *pgx.Conn) error {
		if err := setUp(ctx, c); err != nil {
			return err
		}
		var bytes int64
		if err := c.QueryRow(ctx, `SELECT pg_relation_size('`+config.schema()+`.events')`).Scan(&bytes); err != nil {
			return err
		}
		how := concurrently
		if bytes <= smallTableBytes {
			how = ""
		}
		for _, x := range list {
			if err := x.make(ctx, c, config.Store, how); err != nil {
				return fmt.Errorf("index %s: %w", x.Name, err)
			}
		}
		return nil
	})
}

func (x *Index) make(ctx context.Context, c *pgx.Conn, schema, how string) error {
	sql := x.create(schema, how)
	if how != concurrently {
		// The lock that CONCURRENTLY takes: one build waits for another.
		sql = fmt.Sprintf("LOCK TABLE %s.events IN SHARE UPDATE EXCLUSIVE MODE; %s", quoted(schema), sql)
	}
	for {
		// Without parameters: one text, one transaction.
		if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
		if err := x.look(ctx, c, schema); err != nil || x.State == IndexReady {
			return err
		}
		if _, err := c.PgConn().Exec(ctx, fmt.Sprintf("DROP INDEX%s IF EXISTS %s.%s", how, quoted(schema), x.relation)).ReadAll(); err != nil {
			return err
		}
	}
}
