package core

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"time"
)

// Blobs stores content under its SHA-256, such as the modules of plugins. A blob is written
// before the Commit that names it, so a reader of the log finds what the log names. One
// that no Commit names is removed by a sweep, some time after it was put.
//
// A Commit names a blob only after PutBlob has returned, and sooner after it than the
// olderThan of any sweep. Then no sweep removes a blob that is named or about to be.
type Blobs interface {
	// PutBlob reads r to its end and stores what it read, durably, unless it is there. In
	// both cases the blob counts as put now. r may take at most limit bytes, and never more
	// than MaxBlobBytes: otherwise the error is blob_too_large. An error of r is returned
	// as it is. After any error nothing can be read that was not there before.
	PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error)

	// Blob returns the content of a blob, or blob_not_found. ctx bounds the reading, too.
	// The content is compared with its id while it is read: a reader that reaches io.EOF
	// has read the blob, and nothing may be done with the content before that. If it
	// differs, store_corrupt takes the place of io.EOF. The caller closes the content.
	Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error)

	// ListBlobs returns up to limit ids in byte order, beginning behind after.
	ListBlobs(ctx context.Context, after [32]byte, limit int) ([][32]byte, error)

	// SweepBlobs removes the blobs that were last put more than olderThan ago and that
	// keep does not want. keep is asked about a blob after the sweep has found it. It must
	// know every Commit made until then, by any node, so it reads the log when it is first
	// asked, and keeps everything if it cannot. A blob that is put again between the
	// question and its removal stays.
	SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error
}

// NewBlobNotFound makes the error of a blob that is not there, for engines.
func NewBlobNotFound(id [32]byte) *Error {
	return Errorf(CodeBlobNotFound, "no blob has the id %x", id)
}

// BlobContent is content on its way into a store, for engines. It fails with blob_too_large
// behind its limit. One goroutine uses it at a time.
type BlobContent struct {
	r     io.Reader
	limit int64
	size  int64
	sum   hash.Hash
}

// NewBlobContent returns the content that r has.
func NewBlobContent(r io.Reader, limit int64) *BlobContent {
	return &BlobContent{r: r, limit: limit, sum: sha256.New()}
}

// Chunk reads the next piece into b, which it fills unless the content ends. It returns
// io.EOF instead of an empty piece.
func (c *BlobContent) Chunk(ctx context.Context, b []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, AsError(err)
	}
	n, err := io.ReadFull(c.r, b)
	c.size += int64(n)
	switch {
	case c.size > c.limit:
		e := Errorf(CodeBlobTooLarge, "the content is larger than %d bytes", c.limit)
		e.Limit = c.limit
		return nil, e
	case err != nil && err != io.EOF && err != io.ErrUnexpectedEOF:
		return nil, err
	case n == 0:
		return nil, io.EOF
	}
	c.sum.Write(b[:n])
	return b[:n], nil
}

// ID returns the id of what was read so far.
func (c *BlobContent) ID() [32]byte { return [32]byte(c.sum.Sum(nil)) }

// Size returns how much was read so far.
func (c *BlobContent) Size() int64 { return c.size }

// VerifyBlob returns content that fails with store_corrupt at its end unless its id is id,
// for engines.
func VerifyBlob(id [32]byte, content io.ReadCloser) io.ReadCloser {
	return &verifiedBlob{ReadCloser: content, id: id, sum: sha256.New()}
}

// verifiedBlob is content that is compared with its id while it is read.
type verifiedBlob struct {
	io.ReadCloser
	id  [32]byte
	sum hash.Hash
}

func (v *verifiedBlob) Read(b []byte) (int, error) {
	n, err := v.ReadCloser.Read(b)
	v.sum.Write(b[:n])
	if err == io.EOF && [32]byte(v.sum.Sum(nil)) != v.id {
		err = Errorf(CodeStoreCorrupt, "the content of blob %x is damaged", v.id)
	}
	return n, err
}

// maxBlobPuts is how many blobs a Store takes at a time: an engine may hold the content of
// each in memory.
const maxBlobPuts = 2

// PutBlob is Blobs.PutBlob. It takes few blobs at a time; others wait. A store that takes
// no Commits takes no blobs: the error is why, and r is not read. r should end with ctx.
func (s *Store) PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error) {
	if limit < 0 {
		return id, 0, Errorf(CodeInvalidRequest, "a blob of at most %d bytes cannot be", limit)
	}
	select {
	case s.blobPuts <- struct{}{}:
		defer func() { <-s.blobPuts }()
	case <-ctx.Done():
		return id, 0, AsError(ctx.Err())
	case <-s.closing.Done():
		return id, 0, AsError(context.Cause(s.closing))
	}
	if err := s.engine.State().ReadOnly; err != nil {
		return id, 0, err
	}
	return s.engine.PutBlob(ctx, r, min(limit, MaxBlobBytes))
}

// Blob is Blobs.Blob.
func (s *Store) Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error) {
	return s.engine.Blob(ctx, id)
}

// ListBlobs is Blobs.ListBlobs, with the limits of Streams.
func (s *Store) ListBlobs(ctx context.Context, after [32]byte, limit int) ([][32]byte, error) {
	return s.engine.ListBlobs(ctx, after, pageLimit(limit))
}

// SweepBlobs is Blobs.SweepBlobs.
func (s *Store) SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error {
	if olderThan < 0 {
		return Errorf(CodeInvalidRequest, "blobs older than %s cannot be", olderThan)
	}
	return s.engine.SweepBlobs(ctx, keep, olderThan)
}
