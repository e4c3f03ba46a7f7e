package postgres_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// putBlob puts content, which has to succeed.
func putBlob(t testing.TB, engine core.Blobs, content []byte) (id [32]byte) {
	t.Helper()
	id, _, err := engine.PutBlob(t.Context(), bytes.NewReader(content), core.MaxBlobBytes)
	if err != nil || id != sha256.Sum256(content) {
		t.Fatalf("put %d bytes: %x, %v", len(content), id, err)
	}
	return id
}

// hasBlob checks that a blob is there, or that it is not.
func hasBlob(t testing.TB, engine core.Blobs, content []byte, want bool) {
	t.Helper()
	r, err := engine.Blob(t.Context(), sha256.Sum256(content))
	var got []byte
	if err == nil {
		got, err = io.ReadAll(r)
	}
	if want && (err != nil || !bytes.Equal(got, content)) || !want && !errors.Is(err, core.CodeBlobNotFound) {
		t.Errorf("the blob of %d bytes: %d bytes, %v; want it there: %t", len(content), len(got), err, want)
	}
}

func sweepBlobs(t testing.TB, engine core.Blobs, olderThan time.Duration) {
	t.Helper()
	if err := engine.SweepBlobs(t.Context(), func([32]byte) bool { return false }, olderThan); err != nil {
		t.Errorf("sweep: %v", err)
	}
}

// rowsOfBlobs counts the rows of both tables.
func rowsOfBlobs(t testing.TB, server *pgtest.Server, store string) (blobs, chunks int) {
	t.Helper()
	sql := fmt.Sprintf(`SELECT (SELECT count(*) FROM %[1]s.blobs), (SELECT count(*) FROM %[1]s.blob_chunks)`, store)
	if err := server.Connect(t).QueryRow(t.Context(), sql).Scan(&blobs, &chunks); err != nil {
		t.Fatal(err)
	}
	return blobs, chunks
}

// TestBlobAge: the server's clock says what is old. A put makes a blob young, and an upload
// that never ended is swept, too.
func TestBlobAge(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	store := server.Store(t)
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store})
	content := make([]byte, 3<<20)
	age := func() { server.Exec(t, "UPDATE "+store+".blobs SET put = put - interval '2 hours'") }
	putBlob(t, engine, content)
	age()
	putBlob(t, engine, content)
	sweepBlobs(t, engine, time.Hour)
	hasBlob(t, engine, content, true)
	age()
	server.Exec(t, strings.ReplaceAll(`INSERT INTO {s}.blobs (upload, put) VALUES (gen_random_uuid(), now() - interval '59 minutes');
		WITH u AS (INSERT INTO {s}.blobs (upload, put) VALUES (gen_random_uuid(), now() - interval '61 minutes') RETURNING upload)
		SELECT * FROM u`, "{s}", store))
	sweepBlobs(t, engine, 3*time.Hour)
	hasBlob(t, engine, content, true)
	sweepBlobs(t, engine, time.Minute)
	hasBlob(t, engine, content, false)
	if blobs, chunks := rowsOfBlobs(t, server, store); blobs != 1 || chunks != 0 {
		t.Errorf("%d rows and %d chunks are left", blobs, chunks)
	}
}

// TestDeposedNodeSweeps: a node that is cut off from the ring in the middle of a sweep
// removes nothing that another has put since, and what nobody has put again only once.
func TestDeposedNodeSweeps(t *testing.T) {
	t.Parallel()
	server, store, a, b := openTwo(t)
	again, removed, left := []byte("put again"), []byte("removed and put again"), []byte("left")
	for _, content := range [][]byte{again, removed, left} {
		putBlob(t, a, content)
	}
	asked := 0
	err := a.SweepBlobs(t.Context(), func(id [32]byte) bool {
		asked++
		if changed, err := b.AdvanceEpoch(t.Context()); !changed || err != nil {
			t.Errorf("advance: %t, %v", changed, err)
		}
		switch id {
		case sha256.Sum256(again):
			putBlob(t, b, again)
		case sha256.Sum256(removed):
			server.Exec(t, "UPDATE "+store+".blobs SET put = put - interval '2 hours' WHERE id = sha256('removed and put again')")
			sweepBlobs(t, b, time.Hour)
			hasBlob(t, b, removed, false)
			putBlob(t, b, removed)
		}
		return false
	}, 0)
	if err != nil || asked != 3 {
		t.Errorf("the sweep asked %d times: %v", asked, err)
	}
	hasBlob(t, b, again, true)
	hasBlob(t, b, removed, true)
	hasBlob(t, b, left, false)
}

// TestServerKilledDuringUpload: the upload goes on, or fails and leaves nothing that can be
// read. Damage to what is stored is noticed.
func TestServerKilledDuringUpload(t *testing.T) {
	t.Parallel()
	server := pgtest.Private(t)
	const store = "uploads"
	engine := openStore(t, postgres.Config{URL: server.URL, Store: store, ReadRetryFor: 10 * time.Second})
	content := make([]byte, 24<<20+5)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	answer := make(chan error, 1)
	go func() {
		_, _, err := engine.PutBlob(t.Context(), bytes.NewReader(content), core.MaxBlobBytes)
		answer <- err
	}()
	for chunks := 0; chunks < 4; {
		_, chunks = rowsOfBlobs(t, server, store)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	err := <-answer
	t.Logf("the upload was answered: %v", err)
	hasBlob(t, engine, content, err == nil)
	putBlob(t, engine, content)
	hasBlob(t, engine, content, true)

	server.Exec(t, `UPDATE uploads.blob_chunks SET content = overlay(content placing '\x00ff00ff' from 7) WHERE number = 3`)
	r, err := engine.Blob(t.Context(), sha256.Sum256(content))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, core.CodeStoreCorrupt) {
		t.Errorf("a damaged blob: %v", err)
	}
}

// TestBlobsOfAReader: who opened the store to read it cannot put or sweep.
func TestBlobsOfAReader(t *testing.T) {
	t.Parallel()
	server := pgtest.Shared(t)
	config := postgres.Config{URL: server.URL, Store: server.Store(t)}
	putBlob(t, openStore(t, config), []byte("content"))
	config.OnlyReads, config.Node, config.Ring = true, "reader", ""
	reader := openAlone(t, config)
	if _, _, err := reader.PutBlob(t.Context(), strings.NewReader("other"), 5); !errors.Is(err, core.CodeStoreReadOnly) {
		t.Errorf("put: %v", err)
	}
	if err := reader.SweepBlobs(t.Context(), func([32]byte) bool { return false }, 0); !errors.Is(err, core.CodeStoreReadOnly) {
		t.Errorf("sweep: %v", err)
	}
	hasBlob(t, reader, []byte("content"), true)
}
