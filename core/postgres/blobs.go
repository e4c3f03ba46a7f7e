package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gyre-events/gyre/core"
)

const (
	// blobChunkBytes is the size of a row's content: what a statement sends and a read
	// holds.
	blobChunkBytes = 1 << 20
	// blobTries is how often an upload begins that another one, or a fail-over, spoils.
	blobTries = 3
	// blobUploadTime is how long an upload may take until a sweep removes it.
	blobUploadTime = time.Hour
)

// newBlob is content to be stored, in chunks.
type newBlob struct {
	id     [32]byte
	size   int64
	chunks [][]byte
}

func readBlob(ctx context.Context, r io.Reader, limit int64) (*newBlob, error) {
	b := new(newBlob)
	in := core.NewBlobContent(r, limit)
	for {
		chunk, err := in.Chunk(ctx, make([]byte, blobChunkBytes))
		if err == io.EOF {
			b.id, b.size = in.ID(), in.Size()
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		b.chunks = append(b.chunks, chunk)
	}
}

// PutBlob is core.Blobs's. All of r is read into memory first: one statement then says
// whether the blob is there, and no transaction waits for r. Each chunk is a transaction.
// The last one gives the blob its id, so half of a blob is never found.
func (e *Engine) PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error) {
	if err := e.refuseBlobs(); err != nil {
		return id, 0, err
	}
	b, err := readBlob(ctx, r, limit)
	if err != nil {
		return id, 0, err
	}
	for range blobTries {
		done, err := e.execBlob(ctx, `UPDATE {schema}.blobs SET puts = puts + 1, put = clock_timestamp() WHERE id = $1`, b.id[:])
		if err == nil && !done {
			done, err = e.uploadBlob(ctx, b)
		}
		if err != nil {
			return id, 0, err
		}
		if done {
			return b.id, b.size, nil
		}
	}
	return id, 0, core.Errorf(core.CodeStoreUnavailable, "the upload of a blob was spoiled %d times", blobTries)
}

// refuseBlobs is store_read_only where the store was opened to be read.
func (e *Engine) refuseBlobs() error {
	if e.config.OnlyReads {
		return core.Errorf(core.CodeStoreReadOnly, "the store was opened to be read")
	}
	return nil
}

// uploadBlob writes all of a blob. It is false, and leaves nothing, if the blob has come
// to be there, or if part of it was lost.
func (e *Engine) uploadBlob(ctx context.Context, b *newBlob) (done bool, err error) {
	upload := core.NewID().String()
	defer func() {
		if !done {
			// A sweep removes it otherwise.
			_, _ = e.execBlob(context.WithoutCancel(ctx), `DELETE FROM {schema}.blobs WHERE upload = $1::uuid AND id IS NULL`, upload)
		}
	}()
	// Of a statement that is sent again, the first try may have done its work.
	if _, err := e.execBlob(ctx, `INSERT INTO {schema}.blobs (upload) VALUES ($1::uuid) ON CONFLICT DO NOTHING`, upload); err != nil {
		return false, err
	}
	for i, chunk := range b.chunks {
		_, err := e.execBlob(ctx, `INSERT INTO {schema}.blob_chunks (upload, number, content) VALUES ($1::uuid, $2, $3) ON CONFLICT DO NOTHING`,
			upload, i, chunk)
		if err != nil {
			return false, err
		}
	}
	return e.execBlob(ctx, `UPDATE {schema}.blobs b SET id = $2, size = $3, put = clock_timestamp() WHERE b.upload = $1::uuid
		AND $3 = (SELECT coalesce(sum(octet_length(c.content)), 0) FROM {schema}.blob_chunks c WHERE c.upload = b.upload)`,
		upload, b.id[:], b.size)
}

// execBlob runs a statement that may be repeated, and reports whether it changed a row. It
// did not if a key stood in its way: another upload was faster, or this one was removed.
func (e *Engine) execBlob(ctx context.Context, sql string, args ...any) (changed bool, err error) {
	sql = e.blobSQL(sql)
	err = e.list(ctx, func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, sql, args...)
		changed = err == nil && tag.RowsAffected() > 0
		if state := stateOf(err); state == stateUniqueViolation || state == stateNoParent {
			return nil
		}
		return err
	})
	return changed, err
}

func (e *Engine) blobSQL(sql string) string {
	return strings.ReplaceAll(sql, "{schema}", e.config.schema())
}

// Blob is core.Blobs's. It reads a chunk at a time. If the blob is swept meanwhile, the
// content ends with blob_not_found.
func (e *Engine) Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error) {
	content := &blobContent{engine: e, ctx: ctx, id: id}
	sql := e.blobSQL(`SELECT size FROM {schema}.blobs WHERE id = $1`)
	isThere := false
	err := e.list(ctx, func(ctx context.Context, c *pgx.Conn) error {
		err := c.QueryRow(ctx, sql, id[:]).Scan(&content.left)
		isThere = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !isThere:
		return nil, core.NewBlobNotFound(id)
	}
	return core.VerifyBlob(id, content), nil
}

// blobContent reads a blob.
type blobContent struct {
	engine *Engine
	ctx    context.Context // of Blob; the reader has none
	id     [32]byte
	next   int   // chunk
	left   int64 // bytes, behind chunk
	chunk  []byte
}

func (b *blobContent) Read(p []byte) (int, error) {
	if len(b.chunk) == 0 {
		if b.left == 0 {
			return 0, io.EOF
		}
		if err := b.read(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.chunk)
	b.chunk = b.chunk[n:]
	return n, nil
}

// read reads the next chunk, in binary.
func (b *blobContent) read() error {
	sql := b.engine.blobSQL(`SELECT c.content FROM {schema}.blobs b JOIN {schema}.blob_chunks c USING (upload) WHERE b.id = $1 AND c.number = $2`)
	values := [][]byte{b.id[:], binary.BigEndian.AppendUint32(nil, uint32(b.next))}
	err := b.engine.list(b.ctx, func(ctx context.Context, c *pgx.Conn) error {
		result := c.PgConn().ExecParams(ctx, sql, values, []uint32{oidBytea, oidInt4}, inBinary, inBinary).Read()
		if result.Err == nil && len(result.Rows) == 1 {
			b.chunk = result.Rows[0][0]
		}
		return result.Err
	})
	if err != nil {
		return err
	}
	if len(b.chunk) == 0 {
		return core.NewBlobNotFound(b.id)
	}
	b.left -= int64(len(b.chunk))
	b.next++
	return nil
}

func (b *blobContent) Close() error { return nil }

// ListBlobs is core.Blobs's.
func (e *Engine) ListBlobs(ctx context.Context, after [32]byte, limit int) (ids [][32]byte, err error) {
	sql := e.blobSQL(`SELECT id FROM {schema}.blobs WHERE id > $1 ORDER BY id LIMIT $2`)
	err = e.list(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, sql, after[:], limit)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (id [32]byte, err error) {
			var b []byte
			if err := row.Scan(&b); err != nil {
				return id, err
			}
			return [32]byte(b), nil
		})
		return err
	})
	return ids, err
}

// foundBlob is a blob that a sweep has found, in the state that it had then.
type foundBlob struct {
	id     []byte
	upload string
	puts   int64
}

// SweepBlobs is core.Blobs's. The server's clock says what is old. A blob is removed in the
// state in which it was found, whatever epoch this node knows: a put by any node since then
// has changed it. COMMIT.md says why that is enough.
func (e *Engine) SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error {
	if err := e.refuseBlobs(); err != nil {
		return err
	}
	_, err := e.execBlob(ctx, `DELETE FROM {schema}.blobs WHERE id IS NULL AND put < clock_timestamp() - make_interval(secs => $1)`,
		max(olderThan, blobUploadTime).Seconds())
	for after := make([]byte, 32); err == nil; {
		var found []foundBlob
		if found, err = e.findBlobs(ctx, after, olderThan); len(found) == 0 {
			return err
		}
		for _, b := range found {
			if after = b.id; keep([32]byte(b.id)) {
				continue
			}
			if _, err := e.execBlob(ctx, `DELETE FROM {schema}.blobs WHERE upload = $1::uuid AND puts = $2`, b.upload, b.puts); err != nil {
				return err
			}
		}
	}
	return err
}

func (e *Engine) findBlobs(ctx context.Context, after []byte, olderThan time.Duration) (found []foundBlob, err error) {
	sql := e.blobSQL(`SELECT id, upload::text, puts FROM {schema}.blobs
		WHERE id > $1 AND put <= clock_timestamp() - make_interval(secs => $2) ORDER BY id LIMIT $3`)
	err = e.list(ctx, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, sql, after, olderThan.Seconds(), core.MaxReadEvents)
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (b foundBlob, err error) {
			err = row.Scan(&b.id, &b.upload, &b.puts)
			return b, err
		})
		return err
	})
	return found, err
}
