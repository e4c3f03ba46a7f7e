package validators

import (
	"context"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// Between these, the wait doubles after which a validator that cannot be loaded is tried again.
const (
	leastRetry = time.Second
	mostRetry  = time.Minute
)

// readWithin bounds the time in which what is stored is read.
const readWithin = 30 * time.Second

// refresh brings in force what is stored. It waits for another refresh, and for what has to be
// loaded. The error is why what is stored is not known; what is in force stays so then.
func (v *Validators) refresh(ctx context.Context) error {
	select {
	case v.refreshing <- struct{}{}:
		defer func() { <-v.refreshing }()
	case <-ctx.Done():
		return core.AsError(ctx.Err())
	case <-v.ctx.Done():
		return core.Errorf(core.CodeShuttingDown, "the node stops")
	}
	all, err := v.listWithin(ctx)
	if err != nil {
		return err
	}
	present := make(map[string]*validator)
	for _, x := range *v.inForce.Load() {
		present[x.stored.Name] = x
	}
	var next, load []*validator
	kept, coming := make(map[*validator]bool), make(map[string]*validator)
	for _, s := range all {
		x := present[s.Name]
		switch {
		case s.Paused:
			continue
		case x == nil:
			x = newValidator(v, s, v.totalsOf(&s.Binding))
			load = append(load, x)
		case !x.stored.same(&s): // what is in force stays until this is loaded
			y := v.successor(s)
			if coming[s.Name] = y; y.loads() {
				load = append(load, y)
			}
		case x.loads():
			load = append(load, x)
		}
		next = append(next, x)
		kept[x] = true
	}
	v.publish(next)
	v.setComing(coming)
	v.end(ctx, present, kept, all)
	for _, x := range load {
		if err := v.load(ctx, x); err != nil {
			return err
		}
		old := present[x.stored.Name]
		if x.stored.wrong != nil || x.reason() == nil || old == nil || old.reason() != nil {
			v.replace(x)
			if old != nil && 0 < old.stored.Generation && old.stored.Generation < x.stored.Generation {
				v.ended(ctx, old.stored.Name, old.stored.Generation)
			}
		}
	}
	return nil
}

// successor is what takes the place of the one in force of its name, once it is loaded.
func (v *Validators) successor(s stored) *validator {
	if y := v.comes(s.Name); y != nil && y.stored.same(&s) {
		return y
	}
	return newValidator(v, s, v.totalsOf(&s.Binding))
}

// comes is what is to take the place of the one in force of a name; nil if nothing is.
func (v *Validators) comes(name string) *validator {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.coming[name]
}

// whyNot is why what is to take a place is not in force yet, if that is known.
func (v *Validators) whyNot(s *stored) error {
	if x := v.comes(s.Name); x != nil && x.stored.same(s) {
		return x.reason()
	}
	return nil
}

func (v *Validators) setComing(coming map[string]*validator) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.coming = coming
}

// listWithin is list of all, within readWithin.
func (v *Validators) listWithin(ctx context.Context) ([]stored, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	return v.list(ctx, plugins.ListRequest{})
}

// publish puts a list in force.
func (v *Validators) publish(list []*validator) { v.inForce.Store(&list) }

// end retires what is not kept.
func (v *Validators) end(ctx context.Context, present map[string]*validator, kept map[*validator]bool, all []stored) {
	exists := make(map[string]uint64, len(all))
	for i := range all {
		exists[all[i].Name] = all[i].Generation
	}
	for name, x := range present {
		if kept[x] {
			continue
		}
		x.retire()
		deleted := uint64(0)
		if exists[name] != x.stored.Generation {
			deleted = x.stored.Generation
			v.forget(name)
		}
		v.ended(ctx, name, deleted)
	}
}

// ended has the output of a validator go that is not in force here any more, with its log if a
// generation has ended.
func (v *Validators) ended(ctx context.Context, name string, generation uint64) {
	if err := v.config.Ended(ctx, name, generation); err != nil {
		v.config.Logger.Warn("the output of a validator", "validator", name, "error", err)
	}
}

// replace puts x in force instead of the one of its name.
func (v *Validators) replace(x *validator) {
	old := *v.inForce.Load()
	next := make([]*validator, len(old))
	for i, y := range old {
		next[i] = y
		if y.stored.Name == x.stored.Name {
			next[i] = x
		}
	}
	v.publish(next)
	for _, y := range old {
		if y.stored.Name == x.stored.Name && y != x {
			y.retire()
		}
	}
}

// load makes x ready to judge, or has it say why it is not. The error is that of the end of ctx, after
// which x is to be loaded as before.
func (v *Validators) load(ctx context.Context, x *validator) error {
	if x.stored.wrong != nil {
		v.config.Logger.Error("a validator cannot be read; all appends are refused until it is deleted", "validator", x.stored.Name, "error", x.stored.wrong)
		x.set(nil, nil, x.stored.refusesAll())
		return nil
	}
	program, err := v.program(ctx, &x.stored.Binding)
	if err == nil {
		var first *instance
		if first, err = x.startOf(ctx, program); err == nil {
			x.set(program, first, nil)
			return nil
		}
		_ = program.Close() // it frees memory only
	}
	if ctx.Err() != nil {
		return core.AsError(ctx.Err())
	}
	v.config.Logger.Error("a validator cannot be loaded; if none of its name is in force, its error policy handles what it would judge",
		"validator", x.stored.Name, "then", x.stored.OnError.Then, "error", err)
	x.set(nil, nil, core.Errorf(core.CodeValidatorUnavailable, "validator %q cannot be loaded at this node: %s", x.stored.Name, line(core.AsError(err).Error())))
	return nil
}

// program loads the code of a validator.
func (v *Validators) program(ctx context.Context, b *plugins.Binding) (plugins.Program, error) {
	if v.config.Code == nil {
		return nil, core.Errorf(core.CodeNotSupported, "this node runs no plugins; start it without --no-plugins")
	}
	version, err := v.config.Code.Version(ctx, b.Plugin, b.Version)
	if err != nil {
		return nil, err
	}
	if version.SHA256 != b.SHA256 {
		return nil, core.Errorf(core.CodeInternal, "version %q of plugin %q is module %s, the validator was made for %s", b.Version, b.Plugin, version.SHA256, b.SHA256)
	}
	return v.config.Code.Load(ctx, version)
}

// totalsOf are those of a validator at this node.
func (v *Validators) totalsOf(b *plugins.Binding) *totals {
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.totals[b.Name]
	if !ok {
		t = &totals{}
		v.totals[b.Name] = t
	}
	return t
}

func (v *Validators) forget(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.totals, name)
}
