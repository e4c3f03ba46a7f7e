package registry

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// Step is what an upload is doing.
type Step string

// The steps, in order.
const (
	Receiving Step = "receiving"
	Verifying Step = "verifying"
	Compiling Step = "compiling"
	Storing   Step = "storing"
)

// Upload is a version to be uploaded.
type Upload struct {
	Plugin, Version string
	Module          io.Reader // ends with the context
	// Manifest is that of a module that has none of its own. If both are there, they have
	// to say the same.
	Manifest []byte
	// Progress is called when a step begins; it may be nil.
	Progress func(Step)
}

// Upload verifies a version and stores it. created is false if it was there. Nothing is stored
// after an error, but for a blob that is swept. The errors are not_supported where no module
// can run, body_too_large, invalid_module, invalid_manifest, version_exists, and those of the
// store and of the Module's reader.
func (r *Registry) Upload(ctx context.Context, u Upload) (v plugins.Version, created bool, err error) {
	if err := wasm.Supported(); err != nil {
		return v, false, err
	}
	select {
	case r.uploads <- struct{}{}:
		defer func() { <-r.uploads }()
	case <-ctx.Done():
		return v, false, core.AsError(ctx.Err())
	}
	step := u.Progress
	if step == nil {
		step = func(Step) {}
	}
	step(Receiving)
	text, err := receive(u.Module)
	if err != nil {
		return v, false, err
	}
	step(Verifying)
	module, err := wasm.Parse(text)
	if err != nil {
		return v, false, err
	}
	v, err = verify(&u, module, int64(len(text)))
	if err != nil {
		return v, false, err
	}
	if err := r.unlessOther(ctx, &v); err != nil {
		return v, false, err
	}
	step(Compiling)
	compiler, err := r.open(ctx)
	if err != nil {
		return v, false, err
	}
	if _, err := compiler.Compile(ctx, module); err != nil {
		return v, false, err
	}
	step(Storing)
	return r.store(ctx, v, text)
}

// receive reads a module.
func receive(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, plugins.MaxModuleBytes+1))
	if err != nil {
		return nil, err
	}
	if len(text) > plugins.MaxModuleBytes {
		err := core.Errorf(core.CodeBodyTooLarge, "the module is larger than %d MiB", plugins.MaxModuleBytes>>20)
		err.Limit = plugins.MaxModuleBytes
		return nil, err
	}
	return text, nil
}

// unlessOther returns version_exists if there is such a version with other content. It is
// asked before the work of compiling; store decides.
func (r *Registry) unlessOther(ctx context.Context, v *plugins.Version) error {
	old, err := r.Version(ctx, v.Plugin, v.Version)
	switch {
	case errors.Is(err, core.CodePluginNotFound) || errors.Is(err, core.CodeVersionNotFound):
		return nil
	case err != nil:
		return err
	}
	return sameContent(&old, v)
}

func sameContent(old, v *plugins.Version) error {
	if old.SHA256 != v.SHA256 {
		return core.Errorf(core.CodeVersionExists, "version %q of plugin %q is the module %s since %s, and this is %s",
			v.Version, v.Plugin, old.SHA256[:12], old.Uploaded.Format(time.RFC3339), v.SHA256[:12])
	}
	same, err := sameManifest(&old.Manifest, &v.Manifest)
	if err != nil {
		return err
	}
	if !same {
		return core.Errorf(core.CodeVersionExists, "version %q of plugin %q has this module and another manifest", v.Version, v.Plugin)
	}
	return nil
}

// store puts the module, and then makes the Commit that names it.
func (r *Registry) store(ctx context.Context, v plugins.Version, module []byte) (plugins.Version, bool, error) {
	id, _, err := r.config.Store.PutBlob(ctx, bytes.NewReader(module), plugins.MaxModuleBytes)
	if err != nil {
		return v, false, err
	}
	if got := hex.EncodeToString(id[:]); got != v.SHA256 {
		return v, false, core.Errorf(core.CodeInternal, "the module %s was stored as %s", v.SHA256, got)
	}
	v.Uploaded = time.Now().UTC().Truncate(time.Millisecond)
	value, err := json.Marshal(&v)
	if err != nil {
		return v, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	_, err = r.config.Store.Append(ctx, core.Commit{Records: []core.RecordOp{
		{Table: versionsTable, Key: versionKey(v.Plugin, v.Version), Expect: core.NoStream, Value: value},
	}})
	if err == nil {
		v.Revision = 1
		return v, true, nil
	}
	if !errors.Is(err, core.CodeRecordConflict) && !errors.Is(err, core.CodeUnknownOutcome) {
		return v, false, err
	}
	old, readErr := r.Version(ctx, v.Plugin, v.Version)
	if readErr != nil {
		return v, false, err
	}
	return old, false, sameContent(&old, &v)
}
