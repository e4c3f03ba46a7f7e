package postgres

import (
	"context"
	"crypto/sha256"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

// linkID is the id of the row of a link: made of its stream and its event, it is the
// same for every try to write it. A UUID of version 8, so no event has it by chance.
func linkID(stream string, event core.ID) (id core.ID) {
	sum := sha256.Sum256(append([]byte(stream+"\x00"), event[:]...))
	copy(id[:], sum[:])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (p place) origin() core.Origin {
	return core.Origin{Stream: p.stream, Version: p.version, Position: p.position}
}

// ownEvent is an event that is written with the links of its group.
type ownEvent struct {
	nth int // in the group, from 1; 0 = none
	typ string
}

// linkedIDs are the ids of the events that the group links.
func (p *plan) linkedIDs() (ids []core.ID) {
	if !p.links {
		return nil
	}
	for i := range p.entries {
		for j := range p.entries[i].commit.Appends {
			ids = append(ids, p.entries[i].commit.Appends[j].Links...)
		}
	}
	return ids
}

// canLink reports whether what e links may be there: in f, if that is known, or
// written before it by the group; and not in the stream already.
func (p *plan) canLink(e *entry, f *found) bool {
	own := make(map[core.ID]int) // streams of e's events so far
	rows := e.ids
	for i := range e.commit.Appends {
		a := &e.commit.Appends[i]
		for range a.Events {
			own[rows[0]] = e.streams[i]
			rows = rows[1:]
		}
		rows = rows[len(a.Links):]
		for _, id := range a.Links {
			stream, ok := own[id]
			if !ok {
				stream, ok = p.used[id]
			}
			if ok && stream == e.streams[i] {
				return false
			}
			if ok || f == nil {
				continue
			}
			if home, ok := f.ids[id]; !ok || home.link || home.stream == a.Stream || e.commit.Changes(home.stream) {
				return false
			}
		}
	}
	return true
}

// noteOwn numbers the events that are to be written.
func (p *plan) noteOwn() {
	p.own = make(map[core.ID]ownEvent)
	n := 0
	for i := range p.entries {
		e := &p.entries[i]
		if !e.write {
			continue
		}
		rows := e.ids
		for j := range e.commit.Appends {
			a := &e.commit.Appends[j]
			for k := range a.Events {
				p.own[rows[k]] = ownEvent{n + k + 1, a.Events[k].Type}
			}
			n, rows = n+a.Count(), rows[a.Count():]
		}
	}
}

// knows reports whether f has an id of a row of the group, and not only what is
// linked.
func (p *plan) knows(f *found) bool {
	if !p.links || len(f.ids) == 0 {
		return len(f.ids) > 0
	}
	for i := range p.entries {
		for _, id := range p.entries[i].ids {
			if _, ok := f.ids[id]; ok {
				return true
			}
		}
	}
	return false
}

// encodeLinks puts the event of each link, and its number where the group writes it.
func encodeLinks(out *params, p *plan, n int) {
	if !p.links {
		out.null()
		out.null()
		return
	}
	out.array(oidUUID, n)
	p.eachAppend(func(e *entry, i int) {
		a := &e.commit.Appends[i]
		for range a.Events {
			out.elementNull()
		}
		for j := range a.Links {
			elementBytes(out, a.Links[j][:])
		}
	})
	out.end(false)
	out.array(oidInt4, n)
	nth := 0
	p.eachAppend(func(e *entry, i int) {
		a := &e.commit.Appends[i]
		for range a.Events {
			nth++
			out.elementNull()
		}
		for _, id := range a.Links {
			nth++
			if own := p.own[id]; own.nth > 0 && own.nth < nth { // what comes later is not there yet
				out.elementInt4(uint32(own.nth))
			} else {
				out.elementNull()
			}
		}
	})
	out.end(false)
}

// ReadLog is core.LogReader's.
func (e *Engine) ReadLog(ctx context.Context, from uint64, limit core.Limit) (page core.Page, err error) {
	r := core.ReadRequest{Stream: core.All, From: from, Limit: limit}
	err = e.read(ctx, func(ctx context.Context, c *pgx.Conn) error {
		page, err = e.readPage(ctx, c, &gatherer{request: &r, names: e.names, bare: true}, e.logQuery)
		return err
	})
	page.Hidden = true
	return page, err
}
