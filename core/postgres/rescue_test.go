package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestRescueSparesTheHealthy looks for stuck backends all the time, beside clients whose
// calls take longer than a backend may be stuck, as those do that wait for locks. Each
// client pauses for a moment before it ends its call: one look takes it for stuck.
func TestRescueSparesTheHealthy(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var running sync.WaitGroup
	for range 30 {
		c := server.Connect(t)
		if _, err := c.Exec(t.Context(), "SET application_name = 'gyre/"+store+"/busy'"); err != nil {
			t.Fatal(err)
		}
		f := c.PgConn().Frontend()
		running.Go(func() {
			for ctx.Err() == nil {
				begin := time.Now()
				err := slowCall(f)
				// On a busy machine the client may have paused for longer than it meant to.
				if paused := time.Since(begin) - slowCallTakes; err != nil && paused < 50*time.Millisecond {
					t.Errorf("a healthy backend, after a pause of %s: %v", paused, err)
				}
				if err != nil {
					return
				}
			}
		})
	}
	for ctx.Err() == nil {
		engine.FreeLocks()
	}
	running.Wait()
}

// slowCallTakes is longer than a backend may wait for its client.
const slowCallTakes = 510 * time.Millisecond

// slowCall sends a call that takes so long and, a moment after it is done, its Sync.
func slowCall(f *pgproto3.Frontend) error {
	f.Send(&pgproto3.Parse{Query: fmt.Sprintf(`SELECT txid_current(), pg_sleep(%f)`, slowCallTakes.Seconds())})
	f.Send(&pgproto3.Bind{})
	f.Send(&pgproto3.Execute{})
	f.Send(&pgproto3.Flush{})
	if err := errors.Join(f.Flush(), receive[*pgproto3.CommandComplete](f)); err != nil {
		return err
	}
	time.Sleep(time.Millisecond)
	f.Send(&pgproto3.Sync{})
	return errors.Join(f.Flush(), receive[*pgproto3.ReadyForQuery](f))
}

// receive takes messages up to one of a kind.
func receive[M pgproto3.BackendMessage](f *pgproto3.Frontend) error {
	for {
		m, err := f.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case M:
			return nil
		case *pgproto3.ErrorResponse:
			return errors.New(m.Message)
		}
	}
}
