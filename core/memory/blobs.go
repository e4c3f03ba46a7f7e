package memory

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// blob is content that was put.
type blob struct {
	content []byte
	put     uint64 // the number of its last put
	at      time.Time
}

// PutBlob is core.Blobs's.
func (e *Engine) PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error) {
	id, content, err := readBlob(ctx, r, limit)
	if err == nil {
		err = e.putBlob(id, content)
	}
	if err != nil {
		return [32]byte{}, 0, err
	}
	return id, int64(len(content)), nil
}

func readBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, content []byte, err error) {
	in := core.NewBlobContent(r, limit)
	for buf := make([]byte, 64<<10); ; {
		chunk, err := in.Chunk(ctx, buf)
		if err == io.EOF {
			return in.ID(), content, nil
		}
		if err != nil {
			return id, nil, err
		}
		content = append(content, chunk...)
	}
}

func (e *Engine) putBlob(id [32]byte, content []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed()
	}
	e.puts++
	e.blobs[id] = blob{content, e.puts, time.Now()}
	return nil
}

// Blob is core.Blobs's.
func (e *Engine) Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, errClosed()
	}
	b, ok := e.blobs[id]
	if !ok {
		return nil, core.NewBlobNotFound(id)
	}
	return core.VerifyBlob(id, io.NopCloser(bytes.NewReader(b.content))), nil
}

// ListBlobs is core.Blobs's.
func (e *Engine) ListBlobs(_ context.Context, after [32]byte, limit int) ([][32]byte, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, errClosed()
	}
	var ids [][32]byte
	for id := range e.blobs {
		if compareIDs(id, after) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids[:min(limit, len(ids))], nil
}

func compareIDs(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) }

// SweepBlobs is core.Blobs's.
func (e *Engine) SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error {
	found, err := e.blobsNow()
	if err != nil {
		return err
	}
	now := time.Now()
	for id, b := range found {
		if err := ctx.Err(); err != nil {
			return core.AsError(err)
		}
		if now.Sub(b.at) < olderThan || keep(id) {
			continue
		}
		if err := e.removeBlob(id, b.put); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) blobsNow() (map[[32]byte]blob, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, errClosed()
	}
	return maps.Clone(e.blobs), nil
}

// removeBlob removes a blob unless it was put after last.
func (e *Engine) removeBlob(id [32]byte, last uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed()
	}
	if e.blobs[id].put == last {
		delete(e.blobs, id)
	}
	return nil
}

// PutBlob is core.Blobs's. The content is read before it travels to the log.
func (h *Handle) PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error) {
	id, content, err := readBlob(ctx, r, limit)
	if err == nil {
		_, err = ask(ctx, h, func() (struct{}, error) { return struct{}{}, h.log.engine.putBlob(id, content) })
	}
	if err != nil {
		return [32]byte{}, 0, err
	}
	return id, int64(len(content)), nil
}

// Blob is core.Blobs's. The whole content travels at once.
func (h *Handle) Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error) {
	return ask(ctx, h, func() (io.ReadCloser, error) { return h.log.engine.Blob(ctx, id) })
}

// ListBlobs is core.Blobs's.
func (h *Handle) ListBlobs(ctx context.Context, after [32]byte, limit int) ([][32]byte, error) {
	return ask(ctx, h, func() ([][32]byte, error) { return h.log.engine.ListBlobs(ctx, after, limit) })
}

// SweepBlobs is core.Blobs's. The answers of keep take no time to travel.
func (h *Handle) SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error {
	_, err := ask(ctx, h, func() (struct{}, error) { return struct{}{}, h.log.engine.SweepBlobs(ctx, keep, olderThan) })
	return err
}
