package postgres

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// TestRollBackIsBounded: a server that does not answer any more keeps nobody waiting, whether
// or not the call has ended.
func TestRollBackIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			b := pgproto3.NewBackend(server, server)
			if _, err := b.ReceiveStartupMessage(); err != nil {
				t.Error(err)
				return
			}
			b.Send(&pgproto3.AuthenticationOk{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'T'})
			err := b.Flush()
			for err == nil {
				_, err = b.Receive() // and answer nothing
			}
		}()
		config, err := pgx.ParseConfig("postgres://user@server/db?sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			if client == nil {
				return nil, errors.New("there is one connection")
			}
			c := client
			client = nil
			return c, nil
		}
		c, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if err := rollBack(ended, c); err == nil || time.Since(begun) != rollBackTimeout || !c.IsClosed() {
			t.Errorf("rolled back with %v after %s", err, time.Since(begun))
		}
		<-c.PgConn().CleanupDone()
	})
}
