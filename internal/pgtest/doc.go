// Package pgtest gives tests a real PostgreSQL: a private server with fsync on, a
// Unix socket and a free port on the loopback interface, started from the
// binaries of the machine and gone with the process that asked for it, however
// that ends. GYRE_TEST_PGBIN, a folder, has other binaries than the machine's newest;
// GYRE_TEST_POSTGRES, a URL, uses a server that is there already.
//
//	server := pgtest.Shared(t)     // one for all tests of a process
//	store := server.Store(t)       // a schema of its own
//	postgres.Open(ctx, postgres.Config{URL: server.URL, Store: store})
//
// Server.Pooler puts PgBouncer in front of a server, in transaction mode.
//
// Without the binaries tests are skipped, and fail with CI=true;
// scripts/test-deps.sh installs them where it may.
package pgtest
