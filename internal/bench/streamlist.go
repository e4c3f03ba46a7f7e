package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/postgres"
)

// listedStreams are paged through, 1,000 at a time.
const listedStreams = 1_000_000

// benchStreamList measures lists of streams by a prefix, with versions and with all details,
// against the names alone: of the disk's index as its engine reads them, of PostgreSQL as SQL does.
func benchStreamList(b *bench) (err error) {
	engine, err := disk.Open(b.ctx, disk.Config{Dir: filepath.Join(b.dir, "streams-list")})
	if err != nil {
		return err
	}
	names := func(ctx context.Context, after string) (last string, n int, err error) {
		page, err := engine.Streams(ctx, core.StreamsRequest{Prefix: "order-", After: after, Limit: core.MaxReadEvents})
		return page.Next, len(page.Streams), err
	}
	store, err := openListed(b, "disk", engine)
	if err == nil {
		err = benchList(b, "disk", store, names)
	}
	if err = errors.Join(err, store.Close()); err != nil {
		return err
	}
	server, err := b.startPostgres()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	shared, err := postgres.Open(b.ctx, postgres.Config{URL: server.URL, Store: "listed"})
	if err != nil {
		return err
	}
	c, err := pgx.Connect(b.ctx, server.URL)
	if err != nil {
		return errors.Join(err, shared.Close())
	}
	defer func() { _ = c.Close(b.ctx) }()
	if store, err = openListed(b, "postgres", shared); err == nil {
		// Without statistics the floor would sort all names for each page.
		_, err = c.Exec(b.ctx, `VACUUM (ANALYZE) listed.streams, listed.events`)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err != nil {
		return err
	}
	return benchList(b, "postgres", store, func(ctx context.Context, after string) (last string, n int, err error) {
		rows, err := c.Query(ctx, `SELECT name FROM listed.streams WHERE name > $1 AND name >= 'order-' AND name < 'order.' ORDER BY name LIMIT 1000`, after)
		if err != nil {
			return "", 0, err
		}
		_, err = pgx.ForEachRow(rows, []any{&last}, func() error { n++; return nil })
		if n < core.MaxReadEvents {
			last = ""
		}
		return last, n, err
	})
}

// openListed makes a store of an engine, with the streams in it. Its caller closes it, also after
// an error.
func openListed(b *bench, on string, engine core.Engine) (*core.Store, error) {
	store := core.NewStore(engine, core.StoreConfig{})
	streams := b.n(listedStreams)
	b.progress("streams/list/%s: %d streams", on, streams)
	for n := 0; n < streams; {
		var c core.Commit
		for ; len(c.Appends) < streamsPerStep && n < streams; n++ {
			c.Appends = append(c.Appends, core.Append{Stream: fmt.Sprintf("order-%09d", (n*7919)%streams), Expect: core.AnyVersion,
				Events: []core.NewEvent{{ID: core.NewID(), Type: "OrderPlaced", Data: []byte(`{"total":10}`)}}})
		}
		if _, err := store.Append(b.ctx, c); err != nil {
			return store, err
		}
	}
	return store, nil
}

// benchList measures.
func benchList(b *bench, on string, store *core.Store, names func(ctx context.Context, after string) (last string, n int, err error)) error {
	streams := b.n(listedStreams)
	through := func(page func(after string) (string, int, error)) (sample, error) {
		begin, after := time.Now(), ""
		for total := 0; ; {
			next, n, err := page(after)
			if total += n; err != nil || next == "" {
				if err == nil && total < streams*9/10 {
					err = fmt.Errorf("%d of %d streams are listed", total, streams)
				}
				return rate(total, begin), err
			}
			after = strings.Clone(next)
		}
	}
	for _, details := range []bool{false, true} {
		p, err := pair(rounds,
			func() (sample, error) {
				return through(func(after string) (string, int, error) {
					page, err := store.Streams(b.ctx, core.StreamsRequest{Prefix: "order-", After: after, Limit: core.MaxReadEvents, Details: details})
					return page.Next, len(page.Streams), err
				})
			},
			func() (sample, error) {
				return through(func(after string) (string, int, error) { return names(b.ctx, after) })
			})
		if err != nil {
			return err
		}
		p.note = fmt.Sprintf("%d streams, pages of %d", streams, core.MaxReadEvents)
		if details {
			b.add(p.result("streams/list/"+on+"/details", "streams/s", nil))
		} else {
			b.add(p.result("streams/list/"+on, "streams/s", atLeast(ofRatio, 0.5)))
		}
	}
	return nil
}
