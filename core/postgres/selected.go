package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

var _ core.Selector = (*Engine)(nil)

// selectedRange is how many positions of the log one query looks at. What does not match is
// passed over by the server, and no row comes for it.
const selectedRange = 64 << 10

// indexedRanges is how many ranges a query looks at in the index of types. They are not all of
// the log: an index that was dropped a moment ago must not have a query read that.
const indexedRanges = 16

// selection is a query for events that match.
type selection struct {
	where  strings.Builder
	values [][]byte // from the third parameter on
	typed  string   // the type, in SQL, if one is selected and the index of types is read
}

// add adds a condition, in which ? stands for the value.
func (s *selection) add(condition string, value []byte) {
	s.values = append(s.values, value)
	s.where.WriteString(strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(2+len(s.values))))
}

// newSelection takes from a Selection what the server can tell quickly, with the index of types
// if it is there. It is nil if that is nothing.
func newSelection(of *core.Selection, indexed bool) *selection {
	s := new(selection)
	s.addTypes(of.Filter.Types, indexed)
	if of.Category != "" {
		// '.' comes behind '-'. Each event's stream is looked up by its key: a join might go
		// through all streams for each event.
		s.add(`(SELECT c.name = ?`, []byte(of.Category))
		s.add(` OR c.name >= ?`, []byte(of.Category+"-"))
		s.add(` AND c.name < ? FROM {schema}.streams c WHERE c.id = e.stream) AND `, []byte(of.Category+"."))
	}
	if of.Correlation != "" {
		s.add(`e.correlation = ? AND `, []byte(of.Correlation))
	}
	for _, bound := range []struct {
		condition string
		t         time.Time
	}{{`coalesce(e.time, e.recorded) >= ? AND `, of.Since}, {`coalesce(e.time, e.recorded) <= ? AND `, of.Until}} {
		if !bound.t.IsZero() {
			s.add(bound.condition, int8Of(uint64(bound.t.UnixMicro()-epoch2000)))
		}
	}
	if len(s.values) == 0 {
		return nil
	}
	return s
}

// addTypes adds that an event has one of some types. Of one type the index has the events in
// their order.
func (s *selection) addTypes(types []string, indexed bool) {
	switch {
	case len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return strings.Contains(t, "*") }):
	case len(types) == 1 && indexed:
		s.add(`e.type = ? AND `, []byte(types[0]))
		s.typed = "$" + strconv.Itoa(2+len(s.values))
	default:
		var p params
		p.array(oidText, len(types))
		for _, t := range types {
			elementBytes(&p, t)
		}
		s.add(`e.type = ANY (?) AND `, p.buf)
	}
}

// statement is the query for a page of r up to a position, which is the last parameter.
func (s *selection) statement(e *Engine, r *core.ReadRequest) statement {
	where := inSystem
	if !r.System {
		where = inAll
	}
	last := "$" + strconv.Itoa(3+len(s.values))
	where += s.where.String()
	order, direction := "e.position", ""
	low, high := "$1", last
	if r.Backward {
		low, high, direction = last, "$1", " DESC"
	}
	where += "e.position >= " + low + " AND e.position <= " + high
	if s.typed != "" {
		// Only the index of types has this order and these bounds.
		order = "e.type" + direction + ", e.position"
		where += " AND (e.type, e.position) >= (" + s.typed + ", " + low + ") AND (e.type, e.position) <= (" + s.typed + ", " + high + ")"
	}
	order += direction
	sql := strings.ReplaceAll(allEvents.page(where, order), "{schema}", e.config.schema())
	sum := sha256.Sum256([]byte(sql))
	return statement{"gyre_select_" + hex.EncodeToString(sum[:12]), sql}
}

// ReadSelected is core.Selector's. A page has events of a range of positions.
func (e *Engine) ReadSelected(ctx context.Context, r core.ReadRequest) (page core.Page, ok bool, err error) {
	s := newSelection(&r.Select, e.log.hasTypes())
	if s == nil || r.Stream != core.All || r.Backward && (r.From == 0 || r.From > e.State().Head) {
		return page, false, nil // what begins at the end begins where the server says that it is
	}
	n := e.sizes.selectedRange
	if s.typed != "" {
		n *= indexedRanges
	}
	last := rangeOf(&r, n)
	query := func(r *core.ReadRequest, rows int) []send {
		values := append(pageValues(r, rows), s.values...)
		return []send{{e.sql.head, nil}, {s.statement(e, r), append(values, int8Of(last))}}
	}
	err = e.read(ctx, func(ctx context.Context, c *pgx.Conn) error {
		page, err = e.readPage(ctx, c, &gatherer{request: &r, names: e.names}, query)
		return err
	})
	if err != nil {
		return core.Page{}, false, err
	}
	endRange(&page, &r, last)
	if s.typed != "" {
		page.Scanned = 0 // the index has nothing else
	}
	return page, true, nil
}

// rangeOf returns the last position of the n that a query looks at.
func rangeOf(r *core.ReadRequest, n uint64) uint64 {
	if r.Backward {
		return max(r.From, n) - n + 1
	}
	return max(r.From, 1) + n - 1
}

// endRange has a page that has all of its range go on behind the range.
func endRange(page *core.Page, r *core.ReadRequest, last uint64) {
	if page.End && r.Backward {
		page.Next, page.End = last-1, last == 1
	} else if page.End && last < page.Head {
		page.Next, page.End = last+1, false
	} else if page.End {
		page.Next = max(page.Head+1, r.From)
	}
	from := max(r.From, 1)
	looked := max(page.Next, from) - min(page.Next, from)
	page.Scanned = looked - min(looked, uint64(page.Count))
}
