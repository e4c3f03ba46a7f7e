package registry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// Store is what versions are kept in: a core.Store, or in a ring one whose Append makes
// Commits under the epoch of the view.
type Store interface {
	Append(ctx context.Context, c core.Commit) (core.Result, error)
	Records(ctx context.Context, r core.RecordsRequest) ([]core.Record, error)
	PutBlob(ctx context.Context, r io.Reader, limit int64) (id [32]byte, size int64, err error)
	Blob(ctx context.Context, id [32]byte) (io.ReadCloser, error)
	SweepBlobs(ctx context.Context, keep func(id [32]byte) bool, olderThan time.Duration) error
}

// Config is what a Registry needs. Store and Command are required.
type Config struct {
	Store Store
	// CacheDir is the directory of native code, which belongs to this Registry alone. It is
	// made if it is not there. The default is a temporary one, which Close removes, or the
	// next Registry that makes one if this process is killed.
	CacheDir string
	// Command is the program that compiles, and its arguments: see wasm.NewCompiler.
	Command []string
	// Memory bounds what all instances have together, in bytes; wasm.DefaultMemory if 0.
	Memory int64
	// Uses lists the bindings that use a version, or would go back to it, and the subscriptions
	// whose definitions name it. nil is none.
	Uses func(ctx context.Context, plugin, version string) (names []string, err error)
	// Logger gets what nobody is answered; nil discards it.
	Logger *slog.Logger
}

// Registry keeps versions of plugins.
type Registry struct {
	config  Config
	host    *wasm.Host
	uploads chan struct{} // one for each upload that is under way

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup

	opening   sync.Mutex // protects the fields below
	compiler  *wasm.Compiler
	temporary *temporary // that Close removes, or nil

	mu       sync.Mutex // protects the field below
	programs map[programKey]*sharedProgram
}

// maxUploads bounds the modules that are in memory because they are being verified.
const maxUploads = 2

// New returns a Registry. Its goroutines end in Close.
func New(config Config) (*Registry, error) {
	if config.Store == nil || len(config.Command) == 0 {
		return nil, errors.New("registry: store and command are required")
	}
	if config.Memory == 0 {
		config.Memory = wasm.DefaultMemory
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Uses == nil {
		config.Uses = func(context.Context, string, string) ([]string, error) { return nil, nil }
	}
	r := &Registry{config: config, host: wasm.NewHost(config.Memory), uploads: make(chan struct{}, maxUploads), programs: map[programKey]*sharedProgram{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.running.Go(r.sweep)
	return r, nil
}

// Close ends the goroutines. Programs are closed before, by those who loaded them.
func (r *Registry) Close() error {
	r.cancel()
	r.running.Wait()
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.temporary == nil {
		return nil
	}
	return r.temporary.remove()
}

// The record of the key that authenticates native code.
const (
	keysTable = "plugin_keys"
	cacheKey  = "cache"
	keyBytes  = 32
)

// open returns the compiler, which is made when it is first needed: a node starts without
// waiting for plugins.
func (r *Registry) open(ctx context.Context) (*wasm.Compiler, error) {
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.compiler != nil {
		return r.compiler, nil
	}
	key, err := r.key(ctx)
	if err != nil {
		return nil, err
	}
	dir := r.config.CacheDir
	if dir == "" {
		if r.temporary == nil {
			if r.temporary, err = makeTemporary(); err != nil {
				return nil, cacheError(err)
			}
		}
		dir = filepath.Join(r.temporary.path, "code")
	}
	if r.compiler, err = wasm.NewCompiler(dir, key, r.config.Command...); err != nil {
		r.compiler = nil
		return nil, cacheError(err)
	}
	return r.compiler, nil
}

func cacheError(err error) error {
	return core.Errorf(core.CodeInvalidConfig, "the directory of compiled plugins cannot be used: %w", err)
}

// key returns the key of the store, and makes it if there is none.
func (r *Registry) key(ctx context.Context) ([]byte, error) {
	for {
		records, err := r.config.Store.Records(ctx, core.RecordsRequest{Table: keysTable, Keys: []string{cacheKey}, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(records) > 0 {
			return records[0].Value, nil
		}
		fresh := newKey()
		_, err = r.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{{Table: keysTable, Key: cacheKey, Expect: core.NoStream, Value: fresh}}})
		switch {
		case err == nil:
			return fresh, nil
		case !errors.Is(err, core.CodeRecordConflict): // made by another node meanwhile
			return nil, err
		}
	}
}
