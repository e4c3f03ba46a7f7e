package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// statement is one of those that matter for speed: prepared once on each
// connection, with parameters and results in binary.
type statement struct{ name, sql string }

// statements are those of one store.
type statements struct {
	commit                        statement
	head, streamHead              statement
	allForward, allBackward       statement
	systemForward, systemBackward statement // of $all with the events of the system's streams
	streamForward, streamBackward statement
	log                           statement
	event                         statement
	settings, record              statement
}

const (
	// settings make the plan of what follows in the same flush the one that the
	// statement was written for, whatever the statistics say. They end with the
	// transaction, so that a connection pooler does not notice.
	settings = `set_config('plan_cache_mode', 'force_generic_plan', true),
		set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
		set_config('enable_sort', 'off', true),
		set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
		set_config('max_parallel_workers_per_gather', '0', true), set_config('jit', 'off', true)`

	headOfLog    = `greatest(l.head, (SELECT e.position FROM {schema}.events e ORDER BY e.position DESC LIMIT 1))`
	lastChange   = `coalesce((SELECT c.number FROM {schema}.changes c ORDER BY c.number DESC LIMIT 1), 0)`
	lastOfStream = `greatest(s.version, (SELECT e.version FROM {schema}.events e WHERE e.stream = s.id ORDER BY e.version DESC LIMIT 1))`
	streamByName = `e.stream = (SELECT s.id FROM {schema}.streams s WHERE s.name = $3) AND `
	selectHead   = `SELECT ` + headOfLog + `, ` + lastChange + `, ` + settings + ` FROM {schema}.log l`
	selectStream = `SELECT ` + headOfLog + `, ` + lastChange + `, s.id, ` + lastOfStream + `, s.state, s.incarnation, ` + settings + ` FROM {schema}.log l LEFT JOIN {schema}.streams s ON s.name = $1`
	selectByID   = `SELECT ` + eventColumns + ` FROM {schema}.events e WHERE e.id = $1 AND e.link IS NULL AND ` + notRemoved

	eventColumns = `e.position, e.stream, e.version, e.recorded, e.time, e.id, e.format, e.type, e.content_type, e.metadata, e.data`
	fromEvents   = ` FROM {schema}.events e WHERE `
	// notRemoved is that the stream of an event e was not removed; homeNotRemoved that that of h
	// was not. Mostly nothing is, which is found out once. Otherwise each event's stream is looked
	// up by the key: a list of what is removed may be long, and would be gone through for each.
	nothingRemoved = `NOT (SELECT EXISTS (SELECT FROM {schema}.removed))`
	notRemoved     = `(` + nothingRemoved + ` OR (SELECT r.stream FROM {schema}.removed r WHERE r.stream = e.stream) IS NULL)`
	homeNotRemoved = `(` + nothingRemoved + ` OR (SELECT r.stream FROM {schema}.removed r WHERE r.stream = h.stream) IS NULL)`
	// inSystem is what readers of $all with the system's streams get; inAll what others do.
	// These streams are few, and are looked up once.
	inSystem = `e.link IS NULL AND ` + notRemoved + ` AND `
	inAll    = inSystem + `e.stream <> ALL (ARRAY(SELECT s.id FROM {schema}.streams s WHERE s.name >= '$' AND s.name < '%')) AND `
	// linkIsThere passes over links to what was removed.
	linkIsThere = `(e.link IS NULL OR ` + homeNotRemoved + `) AND `
	// fromLinked has what links name beside them. The join looks something up for
	// links only.
	fromLinked = ` FROM {schema}.events e LEFT JOIN {schema}.events h ON h.position = e.link WHERE `
)

// rows are what a page is selected of.
type rows struct{ columns, from string }

var (
	// allEvents are events without links, but for what the condition says.
	allEvents = rows{eventColumns, fromEvents}
	// linkedEvents are events with what links name in place of what they have not.
	linkedEvents = rows{`e.position, e.stream, e.version, e.recorded,
			CASE WHEN e.link IS NULL THEN e.time ELSE coalesce(h.time, h.recorded) END,
			coalesce(h.id, e.id), coalesce(h.format, e.format), e.type, coalesce(h.content_type, e.content_type),
			coalesce(h.metadata, e.metadata), coalesce(h.data, e.data), e.link, h.stream, h.version`, fromLinked}
	// bareEvents are the rows as they are, with where the events of links are.
	bareEvents = rows{`e.position, e.stream, e.version, e.recorded, e.time, coalesce(h.id, e.id), e.format, e.type,
			e.content_type, e.metadata, e.data, e.link, h.stream, h.version`, fromLinked}
)

// page selects a number of rows, $2.
func (r rows) page(where, order string) string {
	return `SELECT ` + r.columns + r.from + where + ` ORDER BY ` + order + ` LIMIT $2`
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
		allForward:     named("all_forward", allEvents.page(inAll+"e.position >= $1", "e.position")),
		allBackward:    named("all_backward", allEvents.page(inAll+"e.position <= $1", "e.position DESC")),
		systemForward:  named("system_forward", allEvents.page(inSystem+"e.position >= $1", "e.position")),
		systemBackward: named("system_backward", allEvents.page(inSystem+"e.position <= $1", "e.position DESC")),
		streamForward:  named("stream_forward", linkedEvents.page(streamByName+linkIsThere+"e.version >= $1", "e.version")),
		streamBackward: named("stream_backward", linkedEvents.page(streamByName+linkIsThere+"e.version <= $1", "e.version DESC")),
		log:            named("log", bareEvents.page(notRemoved+" AND "+linkIsThere+"e.position >= $1", "e.position")),
		event:          named("event", selectByID),
		settings:       named("settings", `SELECT `+settings),
		record:         named("record", `SELECT r.revision, r.value FROM {schema}.records r WHERE r.tbl = $1 AND r.key = $2`),
	}
}

// all is what a page of $all is asked for with.
func (s *statements) all(r *core.ReadRequest) statement {
	switch {
	case r.System && r.Backward:
		return s.systemBackward
	case r.System:
		return s.systemForward
	case r.Backward:
		return s.allBackward
	}
	return s.allForward
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
	before, err := wrapped(c, &batch, func() error {
		for _, s := range list {
			if unnamed {
				batch.ExecParams(s.sql, s.values, nil, inBinary, inBinary)
				continue
			}
			if _, err := c.Prepare(ctx, s.name, s.sql); err != nil {
				return err
			}
			batch.ExecPrepared(s.name, s.values, inBinary, inBinary)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	results := c.PgConn().ExecBatch(ctx, &batch)
	for range before {
		if results.NextResult() { // Close has the error, if there is none
			_, _ = results.ResultReader().Close()
		}
	}
	return results, nil
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
