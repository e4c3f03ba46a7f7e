package registry

import (
	"context"
	"errors"
	"io"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// programKey names native code.
type programKey struct {
	module [32]byte
	entry  string // the function that it is entered by
}

// sharedProgram is native code that is loaded once.
type sharedProgram struct {
	users int           // who has loaded it, and the goroutine that does; Registry.mu protects it
	ready chan struct{} // closed when the fields below are set

	program *wasm.Program
	err     error
}

// Load makes a version ready to run. It takes seconds if the module has not been compiled on
// this node, and milliseconds if it has. The errors are not_supported, blob_not_found,
// invalid_module and those of the store.
func (r *Registry) Load(ctx context.Context, v plugins.Version) (plugins.Program, error) {
	return r.loadEntry(ctx, &v, v.Manifest.Entry())
}

// LoadQuery makes a version ready to answer queries: its handlers are handed the texts of those. The
// errors are those of Load, and no_query.
func (r *Registry) LoadQuery(ctx context.Context, v plugins.Version) (plugins.Program, error) {
	if !v.Report.Queries {
		return nil, core.Errorf(core.CodeNoQuery, "version %q of plugin %q does not export %s", v.Version, v.Plugin, abi.Query)
	}
	return r.loadEntry(ctx, &v, abi.Query)
}

// loadEntry makes a version ready to be entered by a function.
func (r *Registry) loadEntry(ctx context.Context, v *plugins.Version, entry string) (plugins.Program, error) {
	id, err := moduleID(v)
	if err != nil {
		return nil, err
	}
	key := programKey{id, entry}
	r.mu.Lock()
	s, ok := r.programs[key]
	if !ok {
		s = &sharedProgram{ready: make(chan struct{})}
		r.programs[key] = s
		s.users++
		r.running.Go(func() {
			// It goes on without the caller: others may wait for it, too.
			s.program, s.err = r.load(r.ctx, key)
			close(s.ready)
			_ = r.release(key, s) // an error of closing is of no use to anybody here
		})
	}
	s.users++
	r.mu.Unlock()
	select {
	case <-s.ready:
		err = s.err
	case <-ctx.Done():
		err = core.AsError(ctx.Err())
	}
	if err != nil {
		return nil, errors.Join(err, r.release(key, s))
	}
	return &program{registry: r, key: key, shared: s}, nil
}

// release gives back what Load took. The last one frees the code.
func (r *Registry) release(key programKey, s *sharedProgram) error {
	r.mu.Lock()
	s.users--
	last := s.users == 0
	if last {
		delete(r.programs, key)
	}
	r.mu.Unlock()
	if !last || s.program == nil {
		return nil
	}
	return s.program.Close()
}

// load loads a module from the cache, or compiles it.
func (r *Registry) load(ctx context.Context, key programKey) (*wasm.Program, error) {
	if err := wasm.Supported(); err != nil {
		return nil, err
	}
	compiler, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	code, ok := compiler.Cached(key.module)
	if !ok {
		if code, err = r.compile(ctx, compiler, key.module); err != nil {
			return nil, err
		}
	}
	return r.host.Load(ctx, code, key.entry)
}

// compile compiles a module of the store.
func (r *Registry) compile(ctx context.Context, compiler *wasm.Compiler, id [32]byte) (*wasm.Code, error) {
	blob, err := r.config.Store.Blob(ctx, id)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(blob)
	if err = errors.Join(err, blob.Close()); err != nil {
		return nil, err
	}
	module, err := wasm.Parse(text)
	if err != nil {
		return nil, err
	}
	return compiler.Compile(ctx, module)
}

// program is the plugins.Program of one who has loaded it.
type program struct {
	registry *Registry
	key      programKey
	shared   *sharedProgram // nil once it is closed
}

// New is plugins.Program.New.
func (p *program) New(ctx context.Context, c plugins.Connection) (plugins.Handler, error) {
	return p.shared.program.Plugin().New(ctx, c)
}

// Close is plugins.Program.Close.
func (p *program) Close() error {
	s := p.shared
	p.shared = nil
	if s == nil {
		return nil
	}
	return p.registry.release(p.key, s)
}
