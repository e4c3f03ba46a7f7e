package disk

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

// blobStore is the directory of the blobs, FORMAT.md "Blobs". A file there has its name
// only when its content is durable, and never changes.
type blobStore struct {
	fs      FS
	dir     string
	opened  time.Time     // counts as a put of every blob
	uploads atomic.Uint64 // names the files of uploads
	removed atomic.Uint64 // counts the removals that have begun

	// working makes one change of the directory at a time. It is held over I/O: only
	// those who put and sweep wait for it. It protects the fields below.
	working sync.Mutex
	puts    map[[32]byte]blobPut // the last of each blob, since opened
	count   uint64               // of all puts
}

// blobPut is a put of a blob.
type blobPut struct {
	number uint64 // from 1; 0 is the opening
	at     time.Time
}

func newBlobStore(fs FS, dir string) *blobStore {
	return &blobStore{fs: fs, dir: dir, opened: time.Now(), puts: make(map[[32]byte]blobPut)}
}

func blobName(id [32]byte) string { return hex.EncodeToString(id[:]) }

func parseBlobName(name string) (id [32]byte, ok bool) {
	if len(name) != hex.EncodedLen(len(id)) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(name))
	return id, err == nil && blobName(id) == name
}

func (b *blobStore) path(id [32]byte) string { return filepath.Join(b.dir, blobName(id)) }

// tidy removes the uploads that were not finished.
func (b *blobStore) tidy() error {
	names, err := b.fs.List(b.dir)
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") && err == nil {
			err = b.fs.Remove(filepath.Join(b.dir, name))
		}
	}
	return err
}

// list returns the ids in byte order, which is that of the names.
func (b *blobStore) list() ([][32]byte, error) {
	names, err := b.fs.List(b.dir)
	var ids [][32]byte
	for _, name := range names {
		if id, ok := parseBlobName(name); ok {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// open opens the content of a blob, not yet compared with its id.
func (b *blobStore) open(id [32]byte) (io.ReadCloser, error) {
	file, err := b.fs.OpenFile(b.path(id), os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, core.NewBlobNotFound(id)
	}
	if err != nil {
		return nil, cannotRead(err)
	}
	size, err := file.Size()
	if err != nil {
		_ = file.Close()
		return nil, cannotRead(err)
	}
	return &blobFile{io.NewSectionReader(file, 0, size), file}, nil
}

// blobFile reads a file from its beginning.
type blobFile struct {
	*io.SectionReader
	file File
}

func (f *blobFile) Read(b []byte) (int, error) {
	n, err := f.SectionReader.Read(b)
	if err != nil && err != io.EOF {
		err = cannotRead(err)
	}
	return n, err
}

func (f *blobFile) Close() error { return f.file.Close() }

// check reads a whole blob: nil if it is there and undamaged.
func (b *blobStore) check(id [32]byte) error {
	content, err := b.open(id)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }()
	_, err = io.CopyBuffer(io.Discard, core.VerifyBlob(id, content), make([]byte, blobChunkBytes))
	return err
}

// upload is content that is on its way into a file of its own.
type upload struct {
	store *blobStore
	name  string
	file  File
	at    int64
}

// blobChunkBytes is how much of a blob is read and written at a time.
const blobChunkBytes = 256 << 10

func (b *blobStore) begin() (*upload, error) {
	u := &upload{store: b, name: filepath.Join(b.dir, fmt.Sprintf("%d.tmp", b.uploads.Add(1)))}
	file, err := b.fs.OpenFile(u.name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	u.file = file
	return u, err
}

func (u *upload) write(chunk []byte) error {
	_, err := u.file.WriteAt(chunk, u.at)
	u.at += int64(len(chunk))
	return err
}

// finish makes the upload the blob id, unless that is there and whole.
func (u *upload) finish(id [32]byte) error {
	b := u.store
	isThere := b.check(id) == nil
	if !isThere {
		if err := u.file.Sync(); err != nil {
			return err
		}
	}
	b.working.Lock()
	defer b.working.Unlock()
	if isThere && !b.has(id) { // a sweep was faster
		isThere = false
		if err := u.file.Sync(); err != nil {
			return err
		}
	}
	if !isThere {
		if err := b.fs.Rename(u.name, b.path(id)); err != nil {
			return err
		}
	}
	// Also where the blob is there: whoever put it may have failed here.
	if err := b.fs.SyncDir(b.dir); err != nil {
		return err
	}
	b.count++
	b.puts[id] = blobPut{b.count, time.Now()}
	return nil
}

// remove removes the file, if it did not become the blob. If that fails, the next start
// does it.
func (u *upload) remove() { _ = u.store.fs.Remove(u.name) }

func (b *blobStore) has(id [32]byte) bool {
	file, err := b.fs.OpenFile(b.path(id), os.O_RDONLY)
	if err == nil {
		_ = file.Close()
	}
	return err == nil
}

// lastPut returns the last put of a blob.
func (b *blobStore) lastPut(id [32]byte) blobPut {
	b.working.Lock()
	defer b.working.Unlock()
	if p, ok := b.puts[id]; ok {
		return p
	}
	return blobPut{0, b.opened}
}

// remove removes a blob unless it was put after last. That is not synced: a blob that is
// there again after a loss of power is swept again.
func (b *blobStore) remove(id [32]byte, last uint64) error {
	b.working.Lock()
	defer b.working.Unlock()
	if b.puts[id].number != last {
		return nil
	}
	b.removed.Add(1)
	err := b.fs.Remove(b.path(id))
	if err == nil || errors.Is(err, os.ErrNotExist) {
		delete(b.puts, id)
		return nil
	}
	return err
}

// PutBlob is core.Blobs's. Nothing is locked while r is read.
func (e *Engine) PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error) {
	var u *upload
	err = e.changeBlobs(ctx, func() (err error) {
		u, err = e.blobs.begin()
		return err
	})
	if err != nil {
		return id, 0, err
	}
	defer func() { _ = u.file.Close() }()
	defer func() {
		_ = e.changeBlobs(context.WithoutCancel(ctx), func() error { u.remove(); return nil })
	}()
	in := core.NewBlobContent(r, limit)
	if err = e.upload(ctx, in, u); err == nil {
		id = in.ID()
		err = e.changeBlobs(ctx, func() error { return u.finish(id) })
	}
	if err != nil {
		return [32]byte{}, 0, err
	}
	return id, in.Size(), nil
}

func (e *Engine) upload(ctx context.Context, in *core.BlobContent, u *upload) error {
	for buf := make([]byte, blobChunkBytes); ; {
		chunk, err := in.Chunk(ctx, buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := e.changeBlobs(ctx, func() error { return u.write(chunk) }); err != nil {
			return err
		}
	}
}

// changeBlobs runs do as a call of the engine. Once that is closed, nothing in the directory
// is touched any more: another process may have it.
func (e *Engine) changeBlobs(ctx context.Context, do func() error) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.inUse.RUnlock()
	if err := do(); err != nil {
		return cannotWrite(err)
	}
	return nil
}

// Blob is core.Blobs's. A blob that is swept while it is read can be read to its end.
func (e *Engine) Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.inUse.RUnlock()
	content, err := e.blobs.open(id)
	if err != nil {
		return nil, err
	}
	return core.VerifyBlob(id, content), nil
}

// ListBlobs is core.Blobs's.
func (e *Engine) ListBlobs(ctx context.Context, after [32]byte, limit int) (ids [][32]byte, err error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.inUse.RUnlock()
	all, err := e.blobs.list()
	if err != nil {
		return nil, cannotRead(err)
	}
	for _, id := range all {
		if bytes.Compare(id[:], after[:]) > 0 && len(ids) < limit {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// SweepBlobs is core.Blobs's. A blob counts as put when the engine was opened.
func (e *Engine) SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error {
	var found [][32]byte
	err := e.changeBlobs(ctx, func() (err error) {
		found, err = e.blobs.list()
		return err
	})
	now := time.Now()
	for _, id := range found {
		if err != nil {
			return err
		}
		last := e.blobs.lastPut(id)
		if now.Sub(last.at) < olderThan || keep(id) {
			continue
		}
		err = e.changeBlobs(ctx, func() error { return e.blobs.remove(id, last.number) })
	}
	return err
}
