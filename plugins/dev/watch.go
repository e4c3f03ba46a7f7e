package dev

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Watch sees which sources of a plugin change. It belongs to one goroutine.
type Watch struct {
	dir   string
	files map[string]source // as Next has told them
}

// source is a file as it was.
type source struct {
	size     int64
	modified time.Time
	sum      [sha256.Size]byte // of one that is not large
}

const (
	// pollEvery is how often files are looked at, and how long they have to stay as they are after
	// a change, for an editor may write several.
	pollEvery = 100 * time.Millisecond
	// maxSources bounds the files of a plugin.
	maxSources = 5_000
	// maxSummed is the size up to which the content of a file counts, and not its time.
	maxSummed = 4 << 20
)

// NewWatch watches a directory, as it is now. The error is invalid_request if it has too many
// files, or of the system.
func NewWatch(dir string) (*Watch, error) {
	files, err := scan(dir, nil)
	return &Watch{dir, files}, err
}

// Files is how many files are watched.
func (w *Watch) Files() int { return len(w.files) }

// Next waits until files have changed since the last Next, and stay as they are for a moment. It
// returns their paths.
func (w *Watch) Next(ctx context.Context) (changed []string, err error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for last := w.files; ; {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
		now, err := scan(w.dir, last)
		if err != nil {
			return nil, err
		}
		still := len(differ(last, now)) == 0
		if changed = differ(w.files, now); still && len(changed) > 0 {
			w.files = now
			return changed, nil
		}
		last = now
	}
}

// differ are the paths of files that are not the same in both.
func differ(was, now map[string]source) (paths []string) {
	for path, f := range now {
		if before, ok := was[path]; !ok || before.size != f.size || before.sum != f.sum {
			paths = append(paths, path)
		}
	}
	for path := range was {
		if _, ok := now[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// scan looks at all files of a directory. Those that look as they were are not read.
func scan(dir string, was map[string]source) (map[string]source, error) {
	files := make(map[string]source, len(was))
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && name != dir: // it was removed meanwhile
			return nil
		case err != nil:
			return err
		case name != dir && d.IsDir() && passes(d.Name()):
			return fs.SkipDir
		case d.IsDir() || passes(d.Name()):
			return nil
		case len(files) == maxSources:
			return core.Errorf(core.CodeInvalidRequest, "%s has more than %d files, which are too many for a plugin: is it the right directory?", dir, maxSources)
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		f, ok, err := look(name, was[relative])
		if ok {
			files[relative] = f
		}
		return err
	})
	return files, err
}

// look is a file as it is now; ok is false if it is gone, or no file to read.
func look(name string, was source) (f source, ok bool, err error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, false, nil
	case err != nil:
		return f, false, err
	case !info.Mode().IsRegular():
		return f, false, nil
	}
	f = source{size: info.Size(), modified: info.ModTime(), sum: was.sum}
	switch {
	case f.size == was.size && f.modified.Equal(was.modified):
		return f, true, nil
	case f.size > maxSummed:
		f.sum = sha256.Sum256([]byte(f.modified.String()))
		return f, true, nil
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, false, nil
	}
	f.sum = sha256.Sum256(text)
	return f, true, err
}

// passes reports whether a file or a directory of this name is none of the sources: it is hidden,
// or what editors and toolchains leave behind.
func passes(name string) bool {
	switch path.Ext(name) {
	case ".wasm", ".wat", ".o":
		return true
	}
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") ||
		name == "target" || name == "build" || name == "dist" || name == "node_modules"
}
