package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// statement is one of those that matter for speed: prepared once on each
// connection, with parameters and results in binary.
type statement struct{ name, sql string }

// statements are those of one store.
type statements struct {
	commit                        statement
	head, streamHead              statement
	allForward, allBackward       statement
	streamForward, streamBackward statement
	log                           statement
	event                         statement
}

const (
	// settings make the plan of what follows in the same flush the one that the
	// statement was written for, whatever the statistics say. They end with the
	// transaction, so that a connection pooler does not notice.
	settings = `set_config('plan_cache_mode', 'force_generic_plan', true),
		set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
		set_config('enable_sort', 'off', true),
		set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)`

	headOfLog     = `greatest(l.head, (SELECT e.position FROM {schema}.events e ORDER BY e.position DESC LIMIT 1))`
	lastOfStream  = `greatest(s.version, (SELECT e.version FROM {schema}.events e WHERE e.stream = s.id ORDER BY e.version DESC LIMIT 1))`
	eventColumns  = `e.position, e.stream, e.version, e.recorded, e.time, e.id, e.format, e.type, e.content_type, e.metadata, e.data, `
	noLink        = `NULL::bigint, NULL::bigint, NULL::bigint`
	linkColumns   = `e.link, e.home, e.home_version`
	streamByName  = `e.stream = (SELECT s.id FROM {schema}.streams s WHERE s.name = $4) AND `
	selectHead    = `SELECT ` + headOfLog + `, ` + settings + ` FROM {schema}.log l`
	selectStream  = `SELECT ` + headOfLog + `, s.id, ` + lastOfStream + `, s.incarnation, ` + settings + ` FROM {schema}.log l LEFT JOIN {schema}.streams s ON s.name = $1`
	selectByID    = `SELECT ` + eventColumns + noLink + ` FROM {schema}.events e WHERE e.id = $1 AND e.link IS NULL`
	pageOfEvents1 = `SELECT ` + eventColumns + noLink + ` FROM (
		SELECT *, sum(octet_length(data)) OVER (ORDER BY `
	pageOfEvents2 = ` ROWS UNBOUNDED PRECEDING) - octet_length(data) AS before FROM {schema}.events WHERE `
	pageOfEvents3 = ` LIMIT $2) e WHERE e.before < $3`

	// linkedEvents are the rows of events with what links name in place of what they
	// have not. The join looks something up for links only.
	linkedEvents = `SELECT e.position, e.stream, e.version, e.recorded,
			CASE WHEN e.link IS NULL THEN e.time ELSE coalesce(h.time, h.recorded) END AS time,
			coalesce(h.id, e.id) AS id, coalesce(h.format, e.format) AS format, e.type,
			coalesce(h.content_type, e.content_type) AS content_type, coalesce(h.metadata, e.metadata) AS metadata,
			coalesce(h.data, e.data) AS data, e.link, h.stream AS home, h.version AS home_version
		FROM {schema}.events e LEFT JOIN {schema}.events h ON h.position = e.link WHERE `
	// bareEvents are the rows as they are, with where the events of links are.
	bareEvents = `SELECT e.position, e.stream, e.version, e.recorded, e.time, coalesce(h.id, e.id) AS id, e.format, e.type,
			e.content_type, e.metadata, e.data, e.link, h.stream AS home, h.version AS home_version
		FROM {schema}.events e LEFT JOIN {schema}.events h ON h.position = e.link WHERE `
)

// pageOfRows selects of rows, as pageOfEvents does of events.
func pageOfRows(rows, where, order string) string {
	return "SELECT " + eventColumns + linkColumns + " FROM (SELECT *, sum(octet_length(data)) OVER (ORDER BY " + order +
		" ROWS UNBOUNDED PRECEDING) - octet_length(data) AS before FROM (" + rows + where + " ORDER BY e." + order +
		" LIMIT $2) e) e WHERE e.before < $3 ORDER BY " + order
}

// pageOfEvents selects events up to a number of them, and of bytes: those with
// less data before them.
func pageOfEvents(where, order string) string {
	return pageOfEvents1 + order + pageOfEvents2 + where + " ORDER BY " + order + pageOfEvents3
}

func newStatements(schema string) *statements {
	// A pooler may lend a connection on which another node has prepared statements,
	// of another store or version: the name says what is meant, in full.
	named := func(name, sql string) statement {
		sql = strings.ReplaceAll(sql, "{schema}", schema)
		sum := sha256.Sum256([]byte(sql))
		return statement{"gyre_" + name + "_" + hex.EncodeToString(sum[:12]), sql}
	}
	args := make([]string, callParams)
	for i := range args {
		args[i] = "$" + strconv.Itoa(i+1)
	}
	return &statements{
		commit:         named("commit", "SELECT * FROM {schema}.commit_group("+strings.Join(args, ", ")+")"),
		head:           named("head", selectHead),
		streamHead:     named("stream_head", selectStream),
		allForward:     named("all_forward", pageOfEvents("link IS NULL AND position >= $1", "position")),
		allBackward:    named("all_backward", pageOfEvents("link IS NULL AND position <= $1", "position DESC")),
		streamForward:  named("stream_forward", pageOfRows(linkedEvents, streamByName+"e.version >= $1", "version")),
		streamBackward: named("stream_backward", pageOfRows(linkedEvents, streamByName+"e.version <= $1", "version DESC")),
		log:            named("log", pageOfRows(bareEvents, "e.position >= $1", "position")),
		event:          named("event", selectByID),
	}
}

// inBinary is the format of every parameter and result.
var inBinary = []int16{1}

// send is a statement with its parameters.
type send struct {
	statement
	values [][]byte
}

// flush sends statements in one flush, which is one transaction.
func (e *Engine) flush(ctx context.Context, c *pgx.Conn, list ...send) (*pgconn.MultiResultReader, error) {
	var batch pgconn.Batch
	unnamed := e.unnamed.Load()
	for _, s := range list {
		if unnamed {
			batch.ExecParams(s.sql, s.values, nil, inBinary, inBinary)
			continue
		}
		if _, err := c.Prepare(ctx, s.name, s.sql); err != nil {
			return nil, err
		}
		batch.ExecPrepared(s.name, s.values, inBinary, inBinary)
	}
	return c.PgConn().ExecBatch(ctx, &batch), nil
}

// lostStatement reports whether err says that a prepared statement is not
// there, or there already: a pooler gives each transaction another connection.
// From then on nothing is prepared. Such an error comes before anything is
// done.
func (e *Engine) lostStatement(err error) bool {
	state := stateOf(err)
	if state != stateNoStatement && state != stateStatementThere {
		return false
	}
	if !e.unnamed.Swap(true) {
		e.config.Logger.Info("prepared statements get lost on the way to the server; doing without")
	}
	return true
}
