package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/gyre-events/gyre/core"
)

var _ core.Sizer = (*Engine)(nil)

// Sizes is core.Sizer's.
func (e *Engine) Sizes(ctx context.Context) (core.Sizes, error) {
	if err := e.enter(ctx); err != nil {
		return core.Sizes{}, err
	}
	defer e.inUse.RUnlock()
	s := core.Sizes{Log: e.State().Bytes}
	for _, seg := range e.index.view.Load().segments {
		s.Log -= seg.removed
	}
	for dir, size := range map[string]*int64{e.indexDir(): &s.Index, e.recordsDir(): &s.Records, e.blobDir(): &s.Blobs} {
		var err error
		if *size, err = filesBytes(ctx, e.fs, dir); err != nil {
			return s, core.Errorf(core.CodeInternal, "the size of %s: %s", filepath.Base(dir), reason(err))
		}
	}
	return s, nil
}

// filesBytes is the size of the files in a directory.
func filesBytes(ctx context.Context, fs FS, dir string) (total int64, err error) {
	names, err := fs.List(dir)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		f, err := fs.OpenFile(filepath.Join(dir, name), os.O_RDONLY)
		if errors.Is(err, os.ErrNotExist) {
			continue // it was merged meanwhile
		}
		if err != nil {
			return 0, err
		}
		size, err := f.Size()
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return 0, err
		}
		total += size
	}
	return total, err
}
