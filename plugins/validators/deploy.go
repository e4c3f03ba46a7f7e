package validators

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// stored is a validator as it is stored.
type stored struct {
	plugins.Binding
	revision uint64
	wrong    error // why the record cannot be read
}

// same reports whether two are of one record, as it was written once.
func (s *stored) same(t *stored) bool {
	return s.revision == t.revision && s.Generation == t.Generation
}

// decode reads a record. Of one that cannot be read nobody knows what it is for: it stands for a
// validator of all streams, which refuses.
func decode(r *core.Record) stored {
	s := stored{revision: r.Revision}
	err := json.Unmarshal(r.Value, &s.Binding)
	if err == nil && s.Name != r.Key {
		err = fmt.Errorf("it is of %q", core.Clip(s.Name))
	}
	if err == nil {
		return s
	}
	s.wrong = fmt.Errorf("the record %s/%s cannot be read: %w", plugins.ValidatorsTable, r.Key, err)
	s.Binding = plugins.Binding{Name: r.Key, Kind: plugins.KindValidate, OnError: plugins.ErrorPolicy{Then: plugins.ThenRefuse}}
	s.Input.Filter.Streams = []string{"*"}
	return s
}

// refusesAll is the error of all appends while the record of a validator cannot be read.
func (s *stored) refusesAll() error {
	return core.Errorf(core.CodeValidatorUnavailable,
		"nobody knows which streams validator %q is for, so all appends are refused: %s; gyre plugin rm %s deletes it, then deploy it again; a newer Gyre may be able to read it",
		s.Name, line(s.wrong.Error()), s.Name)
}

// stored reads a validator. The errors are binding_not_found, and store_corrupt if its record cannot
// be read.
func (v *Validators) stored(ctx context.Context, name string) (stored, error) {
	s, err := v.present(ctx, name)
	if err == nil && s.wrong != nil {
		err = core.Errorf(core.CodeStoreCorrupt, "%w; gyre plugin rm %s deletes the validator", s.wrong, name)
	}
	return s, err
}

// present is stored of a validator that may have a record that cannot be read.
func (v *Validators) present(ctx context.Context, name string) (stored, error) {
	found, err := v.config.Store.Records(ctx, core.RecordsRequest{Table: plugins.ValidatorsTable, Keys: []string{name}, Limit: 1})
	switch {
	case err != nil:
		return stored{}, err
	case len(found) == 0:
		return stored{}, core.Errorf(core.CodeBindingNotFound, "there is no plugin binding %q", core.Clip(name))
	}
	return decode(&found[0]), nil
}

// maxDeploys bounds the tries of a deploy, one of which succeeds whenever others fail.
const maxDeploys = 100

// Deploy makes a validator, or changes one. When it returns, this node has it in force, unless
// the status says that it is starting; the others of a ring have it within about a second. It is a
// success only if the version starts here; an error has changed nothing. The errors are those of
// Code, invalid_request, invalid_filter, reserved_stream_name, invalid_plugin_config,
// plugin_failed, and record_conflict if somebody else has changed the binding meanwhile.
func (v *Validators) Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error) {
	for try := 1; ; try++ {
		old, err := v.stored(ctx, name)
		if err != nil && !errors.Is(err, core.CodeBindingNotFound) {
			return plugins.Status{}, err
		}
		err = v.deploy(ctx, name, &old, &d)
		switch {
		case err == nil:
			is, err := v.brought(ctx, name)
			if err == nil && old.revision > 0 && is.Generation > old.Generation {
				v.ended(ctx, name, old.Generation)
			}
			return is, err
		case !errors.Is(err, core.CodeRecordConflict) || try == maxDeploys:
			return plugins.Status{}, err
		}
		// Unless the validator has changed, another binding has come to hold the version.
		now, readErr := v.stored(ctx, name)
		if readErr != nil && !errors.Is(readErr, core.CodeBindingNotFound) {
			return plugins.Status{}, readErr
		}
		if !now.same(&old) {
			return plugins.Status{}, err
		}
	}
}

// deploy makes one try. old has no revision if there is none.
func (v *Validators) deploy(ctx context.Context, name string, old *stored, d *plugins.Deploy) error {
	if v.config.Code == nil {
		return core.Errorf(core.CodeNotSupported, "this node runs no plugins; start it without --no-plugins")
	}
	var was *plugins.Binding
	if old.revision > 0 {
		was = &old.Binding
	}
	next, hold, err := v.resolve(ctx, name, was, d)
	if err != nil {
		return err
	}
	ops := []core.RecordOp{hold}
	switch {
	case was == nil:
		if err := v.isFree(ctx, name); err != nil {
			return err
		}
		last, err := v.lastGeneration(ctx, name)
		if err != nil {
			return err
		}
		next.Generation, next.FirstGeneration = last+1, last+1
		ops = append(ops, core.RecordOp{Table: plugins.BindingsTable, Key: name, Expect: core.NoStream, Action: core.CheckRecord})
	case narrows(was, next): // who is granted the streams of now reads no log of those before
		next.Generation, next.FirstGeneration = was.Generation+1, was.Generation+1
		ops = append(ops, generationOp(name, was.Generation))
	}
	return v.write(ctx, next, old.revision, ops...)
}

// isFree refuses the name of a binding that is no validator.
func (v *Validators) isFree(ctx context.Context, name string) error {
	found, err := v.config.Store.Records(ctx, core.RecordsRequest{Table: plugins.BindingsTable, Keys: []string{name}, Limit: 1})
	if err == nil && len(found) > 0 {
		err = core.Errorf(core.CodeInvalidRequest, "binding %q is no validator: deploy under another name, or delete it first", name)
	}
	return err
}

// resolve makes the binding that a deploy asks for, and proves that its code starts. hold keeps
// its version from being deleted meanwhile.
func (v *Validators) resolve(ctx context.Context, name string, old *plugins.Binding, d *plugins.Deploy) (b *plugins.Binding, hold core.RecordOp, err error) {
	plugin, version, err := d.Which(name, old)
	if err != nil {
		return nil, hold, err
	}
	code, err := v.config.Code.Version(ctx, plugin, version)
	if err != nil {
		return nil, hold, err
	}
	next, err := d.Resolve(name, old, &code)
	if err != nil {
		return nil, hold, err
	}
	if d.Admit != nil {
		if err := d.Admit(old, &next); err != nil {
			return nil, hold, err
		}
	}
	if err := v.config.Code.CheckConfig(&code, next.Config); err != nil {
		return nil, hold, err
	}
	if hold, err = v.config.Code.Hold(&code); err != nil {
		return nil, hold, err
	}
	next.Deployed = time.Now().UTC().Truncate(time.Microsecond)
	switch {
	case old == nil:
		next.Created = next.Deployed
	case old.Plugin != next.Plugin:
		next.Previous = ""
	case old.Version != next.Version:
		next.Previous = old.Version
	}
	return &next, hold, v.try(ctx, &next)
}

// narrows reports whether was may have logged events of streams that is does not judge.
func narrows(was, is *plugins.Binding) bool {
	return slices.ContainsFunc(was.Input.Filter.Streams, func(pattern string) bool {
		return !core.MatchAny(is.Input.Filter.Streams, pattern)
	})
}

// try proves that the code of a binding starts here.
func (v *Validators) try(ctx context.Context, b *plugins.Binding) error {
	program, err := v.program(ctx, b)
	if err != nil {
		return err
	}
	x := newValidator(v, stored{Binding: *b}, &totals{})
	first, err := x.startOf(ctx, program)
	if err == nil {
		first.handler.Close()
	}
	return errors.Join(err, program.Close())
}

// write stores a validator in place of one at a revision, 0 if there is none, in one Commit with
// other records.
func (v *Validators) write(ctx context.Context, b *plugins.Binding, revision uint64, with ...core.RecordOp) error {
	value, err := json.Marshal(b)
	if err != nil {
		return err
	}
	with = append(with, core.RecordOp{Table: plugins.ValidatorsTable, Key: b.Name, Expect: core.Expect(revision), Value: value})
	_, err = v.config.Store.Append(ctx, core.Commit{Records: with})
	return err
}

// brought has what was stored come in force here, and returns how it is. If that does not end in
// time, the watch goes on with it.
func (v *Validators) brought(ctx context.Context, name string) (plugins.Status, error) {
	if err := v.refresh(ctx); err != nil {
		v.config.Logger.Warn("a change of a validator is not in force yet", "validator", name, "error", err)
	}
	return v.Status(context.WithoutCancel(ctx), name)
}

// edit changes a validator.
func (v *Validators) edit(ctx context.Context, name string, change func(*plugins.Binding)) (plugins.Status, error) {
	old, err := v.stored(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	next := old.Binding
	change(&next)
	if err := v.write(ctx, &next, old.revision); err != nil {
		return plugins.Status{}, err
	}
	return v.brought(ctx, name)
}

// Pause takes a validator out of force, until Resume. The errors are binding_not_found and
// record_conflict.
func (v *Validators) Pause(ctx context.Context, name string) (plugins.Status, error) {
	s, err := v.edit(ctx, name, func(b *plugins.Binding) { b.Paused = true })
	if err == nil {
		v.config.Logger.Warn("a validator is paused: what it would judge is appended unjudged", "validator", name)
	}
	return s, err
}

// Resume ends Pause. The errors are those of Pause.
func (v *Validators) Resume(ctx context.Context, name string) (plugins.Status, error) {
	return v.edit(ctx, name, func(b *plugins.Binding) { b.Paused = false })
}

// Rollback goes back to the version before. Again, it goes forward. The errors are those of
// Deploy, and nothing_before.
func (v *Validators) Rollback(ctx context.Context, name string, r plugins.Rollback) (plugins.Status, error) {
	b, err := v.stored(ctx, name)
	if err != nil {
		return plugins.Status{}, err
	}
	if err := r.Validate(); err != nil {
		return plugins.Status{}, err
	}
	if r.To == plugins.ToGeneration {
		return plugins.Status{}, core.Errorf(core.CodeInvalidRequest, "binding %q is a validator, which has no generations", name)
	}
	if b.Previous == "" {
		return plugins.Status{}, core.Errorf(core.CodeNothingBefore, "binding %q has had no version before %q", b.Name, b.Version)
	}
	return v.Deploy(ctx, name, plugins.Deploy{Plugin: b.Plugin, Version: b.Previous})
}

// Delete deletes a validator and its log. One whose record cannot be read is deleted, too. The
// errors are those of Pause.
func (v *Validators) Delete(ctx context.Context, name string) error {
	s, err := v.present(ctx, name)
	if err != nil {
		return err
	}
	if s.wrong != nil { // it has the generation after the last that was deleted
		last, err := v.lastGeneration(ctx, name)
		if err != nil {
			return err
		}
		s.Generation = last + 1
	}
	ops := []core.RecordOp{
		{Table: plugins.ValidatorsTable, Key: name, Expect: core.Expect(s.revision), Action: core.DeleteRecord},
		generationOp(name, s.Generation),
	}
	if _, err := v.config.Store.Append(ctx, core.Commit{Records: ops}); err != nil {
		return err
	}
	if err := v.refresh(ctx); err != nil {
		v.config.Logger.Warn("a deletion of a validator is not in force yet", "validator", name, "error", err)
	}
	v.ended(ctx, name, s.Generation) // it may have been paused
	return nil
}

// generationOp stores the generation of a name that has ended last.
func generationOp(name string, ended uint64) core.RecordOp {
	return core.RecordOp{Table: plugins.GenerationsTable, Key: name, Expect: core.AnyVersion, Value: strconv.AppendUint(nil, ended, 10)}
}

// lastGeneration is that of the binding of a name that was deleted last; 0 if there was none.
func (v *Validators) lastGeneration(ctx context.Context, name string) (uint64, error) {
	found, err := v.config.Store.Records(ctx, core.RecordsRequest{Table: plugins.GenerationsTable, Keys: []string{name}, Limit: 1})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	last, err := strconv.ParseUint(string(found[0].Value), 10, 64)
	if err != nil {
		return 0, core.Errorf(core.CodeStoreCorrupt, "the record %s/%s: %w", plugins.GenerationsTable, name, err)
	}
	return last, nil
}
