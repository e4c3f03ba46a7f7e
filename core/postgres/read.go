package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// Read is core.Engine's. The head is read first, the events after it in the
// same flush: they are on a later snapshot, which has everything up to that
// head, and what is beyond is left for the next page.
func (e *Engine) Read(ctx context.Context, r core.ReadRequest) (page core.Page, err error) {
	err = e.read(ctx, func(ctx context.Context, c *pgx.Conn) error {
		page, err = e.readPage(ctx, c, &gatherer{request: &r, names: e.names}, e.pageQuery)
		return err
	})
	return page, err
}

// readPage asks until there is a page: once, unless the events are much smaller than
// those of the last page.
func (e *Engine) readPage(ctx context.Context, c *pgx.Conn, g *gatherer, query func(r *core.ReadRequest, rows int) []send) (core.Page, error) {
	next := *g.request
	for {
		g.rows, g.asked = 0, g.ask(e.sizes.of(next.Stream).Load())
		if err := e.readRows(ctx, c, g, query(&next, g.asked)); err != nil {
			return core.Page{Incarnation: g.page.Incarnation}, err
		}
		if !g.unfilled() {
			break
		}
		next.From = g.page.Next + 1
		if next.Backward {
			next.From = g.page.Next - 1
		}
	}
	e.sizes.note(&next, &g.page)
	g.finish()
	e.log.advance(g.page.Head, mark{})
	return g.page, nil
}

// readRows gathers what the server answers. Where it goes on with much more than fits,
// the connection is given up: there is no other way to stop it.
func (e *Engine) readRows(ctx context.Context, c *pgx.Conn, g *gatherer, query []send) error {
	results, err := e.flush(ctx, c, query...)
	if err != nil {
		return &acquireError{err}
	}
	if results.NextResult() {
		err = g.takeHead(results.ResultReader())
	}
	if err == nil && results.NextResult() {
		err = g.takeRows(results.ResultReader())
	}
	if errors.Is(err, errEnough) {
		_ = c.PgConn().Conn().Close() // the driver tells the server to stop, and the pool notices
		_ = results.Close()
		err = nil
	} else if closeErr := results.Close(); closeErr != nil {
		return closeErr
	}
	if err == nil && len(g.waiting) > 0 {
		err = e.name(ctx, c, g)
	}
	return err
}

// maxLimit bounds the number of rows as storage is asked for it.
const maxLimit = 1 << 30

// pageQuery is what a page is asked for with: the head, then the events.
func (e *Engine) pageQuery(r *core.ReadRequest, rows int) []send {
	values := pageValues(r, rows)
	if r.Stream == core.All {
		return []send{{e.sql.head, nil}, {e.sql.all(r), values}}
	}
	name := []byte(r.Stream)
	values = append(values, name)
	if r.Backward {
		return []send{{e.sql.streamHead, [][]byte{name}}, {e.sql.streamBackward, values}}
	}
	return []send{{e.sql.streamHead, [][]byte{name}}, {e.sql.streamForward, values}}
}

// logQuery is what a page of everything that was written is asked for with.
func (e *Engine) logQuery(r *core.ReadRequest, rows int) []send {
	return []send{{e.sql.head, nil}, {e.sql.log, pageValues(r, rows)}}
}

func pageValues(r *core.ReadRequest, rows int) [][]byte {
	from := r.From
	if r.From == 0 && r.Backward {
		from = core.MaxNumber
	}
	return [][]byte{int8Of(from), int8Of(uint64(rows))}
}

func int8Of(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// uint64Of reads an int8; NULL is 0.
func uint64Of(v []byte) uint64 {
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// gatherer makes a page of rows.
type gatherer struct {
	request *core.ReadRequest
	names   *nameCache
	page    core.Page
	bare    bool // links are wanted without what they name
	// Of a stream; 0 for $all.
	stream uint64
	own    incarnation
	// changes is how many Commits had changed streams as a whole when the head was read.
	changes uint64

	asked   int   // how many rows, of the query under way
	rows    int   // that came
	bytes   int   // of data and metadata that were taken; fewer than those of the page
	thrown  int   // bytes of rows that were not taken
	full    bool  // an event did not fit
	cut     bool  // there was more than the page has
	waiting []row // for the name of a stream, from the first that has none on
}

// maxThrown is how many bytes that do not fit are read to the end; it is cheaper to
// connect anew than to read more.
const maxThrown = core.MaxPageBytes

// errEnough says that a result was not read to its end.
var errEnough = errors.New("enough was read")

// row is an event as it is stored.
type row struct {
	position, stream, version uint64
	recorded                  int64 // Unix µs
	id                        core.ID
	event                     core.NewEvent

	link              uint64 // the position of the event, of a link; 0 otherwise
	home, homeVersion uint64 // its stream and version
}

// takeHead takes the row about the log and the stream.
func (g *gatherer) takeHead(r *pgconn.ResultReader) error {
	there := false
	var lifecycle core.Lifecycle
	for r.NextRow() {
		v := r.Values()
		there = true
		g.page.Head = uint64Of(v[0])
		g.page.Version, g.changes = g.page.Head, uint64Of(v[1])
		if g.request.Stream != core.All {
			g.stream, g.page.Version = uint64Of(v[2]), uint64Of(v[3])
			if len(v[4]) == 2 && len(v[5]) == 4 {
				lifecycle = lifecycleOf(v[4], v[5])
			}
			g.own = incarnation{g.request.Stream, lifecycle.Incarnation()}
			g.page.Incarnation = lifecycle.Incarnation()
		}
	}
	if _, err := r.Close(); err != nil {
		return err
	}
	refusal := lifecycle.Refusal(g.request.Stream)
	switch {
	case !there:
		return core.Errorf(core.CodeStoreCorrupt, "the log has no row")
	case refusal != nil:
		return refusal
	case g.page.Version == 0 && g.request.Stream != core.All:
		return core.NewStreamNotFound(g.request.Stream)
	}
	return nil
}

// takeRows takes the events, but for those that were written after the head
// was read. The driver uses its memory again for the next row: what a row points
// to is copied, into the page or, while a name is missing, aside. It is errEnough where
// the rest is not worth reading.
func (g *gatherer) takeRows(r *pgconn.ResultReader) error {
	for r.NextRow() {
		var w row
		if err := w.scan(r.Values()); err != nil {
			return err
		}
		if g.later(&w) {
			continue
		}
		g.rows++
		if !g.take(&w) {
			if g.thrown > maxThrown && len(g.waiting) == 0 { // names are asked for on this connection
				return errEnough
			}
			continue
		}
		l, named := g.incarnationOf(w.stream)
		home, homeNamed := g.homeOf(&w)
		if !named || !homeNamed || len(g.waiting) > 0 {
			g.waiting = append(g.waiting, w.clone())
			continue
		}
		g.add(&w, l, home)
	}
	_, err := r.Close()
	return err
}

// later reports whether an event was written after the head was read.
func (g *gatherer) later(w *row) bool {
	return w.position > g.page.Head || g.stream != 0 && (w.stream != g.stream || w.version > g.page.Version)
}

// take counts a row, and reports whether there is room for it as far as its bytes say.
func (g *gatherer) take(w *row) bool {
	size := len(w.event.Data) + len(w.event.Metadata)
	if g.full || g.bytes >= g.request.Limit.Bytes {
		g.cut = true
		g.thrown += size
		return false
	}
	g.bytes += size
	return true
}

func (g *gatherer) incarnationOf(stream uint64) (incarnation, bool) {
	if g.stream != 0 {
		return g.own, true
	}
	return g.names.incarnation(stream)
}

// homeOf is the stream of what a link names.
func (g *gatherer) homeOf(w *row) (incarnation, bool) {
	if w.link == 0 {
		return incarnation{}, true
	}
	return g.names.incarnation(w.home)
}

// encode appends an event, or a link to one that is in home.
func (g *gatherer) encode(dst []byte, w *row, l, home incarnation) []byte {
	p := core.Placement{
		Stream: l.name, Version: w.version, Position: w.position, Recorded: w.recorded, Incarnation: l.number, ID: w.id,
	}
	if w.link == 0 {
		return core.EncodeEvent(dst, p, &w.event)
	}
	origin := core.Origin{Stream: home.name, Version: w.homeVersion, Position: w.link}
	if g.bare {
		return core.EncodeLink(dst, p, origin, w.event.Type)
	}
	return core.EncodeLinked(dst, p, origin, &w.event)
}

// add encodes an event into the page, if it fits.
func (g *gatherer) add(w *row, l, home incarnation) {
	if g.full {
		return
	}
	p := &g.page.Batch
	if p.Block == nil {
		// Events are of one size mostly; what is too little grows.
		guess := core.MaxEncodedBytes(l.name, &w.event) * min(g.request.Limit.Events, core.MaxReadEvents)
		p.Block = make([]byte, 0, min(guess, g.request.Limit.Bytes, core.MaxPageBytes))
	}
	size := len(p.Block)
	p.Block = g.encode(p.Block, w, l, home)
	if p.Count > 0 && len(p.Block) > g.request.Limit.Bytes {
		p.Block, g.full, g.cut = p.Block[:size], true, true
		return
	}
	if p.Count == 0 {
		p.First = w.position
	}
	p.Count++
	p.Last = w.position
	g.pass(w)
}

// pass notes that the page comes after a row, which is in it or is passed over.
func (g *gatherer) pass(w *row) {
	g.page.Next = w.version
	if g.stream == 0 {
		g.page.Next = w.position
	}
}

// finish says where the next page begins. Up to here, page.Next is the number
// of the last row.
func (g *gatherer) finish() {
	p, r := &g.page, g.request
	exhausted := !g.cut && g.rows < g.asked
	switch {
	case r.Backward && p.Next == 0:
		p.End = true
	case r.Backward:
		p.Next--
		p.End = exhausted || p.Next == 0
	case p.Next == 0:
		p.Next, p.End = max(r.From, 1), true
	default:
		p.Next++
		p.End = exhausted || p.Next > p.Version
	}
	if r.Backward && p.End {
		p.Next = 0
	}
}

// An event is selected with so many columns, and with three more where it may be a link.
const (
	eventColumnCount = 11
	linkColumnCount  = eventColumnCount + 3
)

// scan reads a row without copying: w points into v.
func (w *row) scan(v [][]byte) error {
	if len(v) != eventColumnCount && len(v) != linkColumnCount || len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 || len(v[3]) != 8 ||
		len(v[5]) != len(core.ID{}) || len(v[6]) != 2 {
		return errMalformed
	}
	w.position, w.stream, w.version = uint64Of(v[0]), uint64Of(v[1]), uint64Of(v[2])
	w.recorded = int64(uint64Of(v[3])) + epoch2000
	if v[4] != nil {
		w.event.Time = time.UnixMicro(int64(uint64Of(v[4])) + epoch2000)
	}
	w.id = core.ID(v[5])
	w.event.Format = core.Format(binary.BigEndian.Uint16(v[6]))
	w.event.Type = unsafe.String(unsafe.SliceData(v[7]), len(v[7]))
	w.event.ContentType = unsafe.String(unsafe.SliceData(v[8]), len(v[8]))
	w.event.Metadata, w.event.Data = v[9], v[10]
	if len(v) == eventColumnCount {
		return nil
	}
	w.link, w.home, w.homeVersion = uint64Of(v[11]), uint64Of(v[12]), uint64Of(v[13])
	if w.link > 0 && w.home == 0 {
		return core.Errorf(core.CodeStoreCorrupt, "the link at position %d names position %d, where no event is", w.position, w.link)
	}
	return nil
}

// clone is w with bytes of its own.
func (w *row) clone() row {
	c := *w
	c.event.Type, c.event.ContentType = strings.Clone(w.event.Type), strings.Clone(w.event.ContentType)
	c.event.Metadata, c.event.Data = slices.Clone(w.event.Metadata), slices.Clone(w.event.Data)
	return c
}

// name asks for the names of the streams that g's rows wait for, and adds them
// to the page. A stream that has been removed since is passed over.
func (e *Engine) name(ctx context.Context, c *pgx.Conn, g *gatherer) error {
	var ids []int64
	for i := range g.waiting {
		for _, stream := range []uint64{g.waiting[i].stream, g.waiting[i].home} {
			if _, ok := e.names.incarnation(stream); !ok && stream != 0 && !slices.Contains(ids, int64(stream)) {
				ids = append(ids, int64(stream))
			}
		}
	}
	incarnations, err := e.incarnations(ctx, c, ids)
	if err != nil {
		return err
	}
	incarnationOf := func(stream uint64) (incarnation, bool) {
		if l, ok := incarnations[stream]; ok || stream == 0 {
			return l, true
		}
		return e.names.incarnation(stream)
	}
	changed := false
	for i := range g.waiting {
		w := &g.waiting[i]
		l, ok := incarnationOf(w.stream)
		home, homeOK := incarnationOf(w.home)
		if ok && homeOK {
			g.add(w, l, home)
			continue
		}
		if !changed {
			changes, err := e.changes(ctx, c)
			if err != nil {
				return err
			}
			changed = changes != g.changes
		}
		if !changed {
			return core.Errorf(core.CodeStoreCorrupt, "the event at position %d is of stream %d, which is not there", w.position, w.stream)
		}
		g.pass(w)
	}
	g.waiting = nil
	return nil
}

// incarnations asks for streams by their ids, and remembers them.
func (e *Engine) incarnations(ctx context.Context, c *pgx.Conn, ids []int64) (map[uint64]incarnation, error) {
	incarnations := make(map[uint64]incarnation, len(ids))
	err := withSettings(ctx, c, func() error {
		rows, err := c.Query(ctx, `SELECT id, name, incarnation FROM `+e.config.schema()+`.streams WHERE id = ANY ($1)`, ids)
		if err != nil {
			return err
		}
		var id uint64
		var l incarnation
		_, err = pgx.ForEachRow(rows, []any{&id, &l.name, &l.number}, func() error {
			incarnations[id] = l
			e.names.addIncarnation(id, l)
			return nil
		})
		return err
	})
	return incarnations, err
}

// changes asks how many Commits have changed streams as a whole.
func (e *Engine) changes(ctx context.Context, c *pgx.Conn) (n uint64, err error) {
	err = withSettings(ctx, c, func() error {
		return c.QueryRow(ctx, strings.ReplaceAll(`SELECT `+lastChange, "{schema}", e.config.schema())).Scan(&n)
	})
	return n, err
}

// Event is core.Engine's.
func (e *Engine) Event(ctx context.Context, id core.ID) (event core.Event, err error) {
	err = e.read(ctx, func(ctx context.Context, c *pgx.Conn) error {
		results, err := e.flush(ctx, c, send{e.sql.event, [][]byte{id[:]}})
		if err != nil {
			return &acquireError{err}
		}
		g := gatherer{request: &core.ReadRequest{Stream: core.All, Limit: core.Limit{Events: 1, Bytes: core.MaxPageBytes}}, names: e.names}
		g.page.Head, g.changes = core.MaxNumber, core.MaxNumber
		if results.NextResult() {
			err = g.takeRows(results.ResultReader())
		}
		if closeErr := results.Close(); closeErr != nil {
			return closeErr
		}
		if err == nil && len(g.waiting) > 0 {
			err = e.name(ctx, c, &g)
		}
		if err != nil {
			return err
		}
		if g.page.Count == 0 {
			return core.NewEventNotFound(id)
		}
		_, err = core.DecodeEvent(g.page.Block, &event)
		return err
	})
	return event, err
}
