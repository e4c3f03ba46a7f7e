package host

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
)

// Deploy makes a binding, or changes one: then at a batch boundary, and a binding that has
// stopped goes on. It is a success only if the version is ready to run here; an error has
// changed nothing. The errors are those of Versions and Programs, invalid_request,
// invalid_plugin_config, subscription_in_use if there is a subscription of the name, and
// record_conflict if somebody else has changed the binding meanwhile.
//
// A binding that was deleted and is deployed again is a new one, also while what is left of the
// other is being swept: its state, its log and its totals are empty, and its generation is
// behind those that there were.
func (h *Host) Deploy(ctx context.Context, name string, d plugins.Deploy) (plugins.Status, error) {
	old, err := h.present(ctx, name)
	if err == nil {
		err = h.deployOver(ctx, name, old, &d)
	}
	if err != nil {
		return plugins.Status{}, err
	}
	return h.Status(ctx, name)
}

// deployOver is deploy, and tries again while other bindings come to hold the version.
func (h *Host) deployOver(ctx context.Context, name string, old *binding, d *plugins.Deploy) error {
	for try := 1; ; try++ {
		err := h.deploy(ctx, name, old, d)
		if !errors.Is(err, core.CodeRecordConflict) || try == maxDeploys {
			return err
		}
		now, readErr := h.present(ctx, name)
		if readErr != nil {
			return readErr
		}
		if now.at() != old.at() {
			return err
		}
	}
}

// maxDeploys bounds the tries of a deploy, one of which succeeds whenever others fail.
const maxDeploys = 100

// present is a binding, or nil if there is none.
func (h *Host) present(ctx context.Context, name string) (*binding, error) {
	b, err := h.binding(ctx, name)
	if errors.Is(err, core.CodeBindingNotFound) {
		return nil, nil
	}
	return b, err
}

// at is the revision of a binding; 0 of none.
func (b *binding) at() uint64 {
	if b == nil {
		return 0
	}
	return b.revision
}

// deploy makes a binding, or changes old.
func (h *Host) deploy(ctx context.Context, name string, old *binding, d *plugins.Deploy) error {
	var was *plugins.Binding
	if old != nil {
		was = &old.Binding
	}
	next, hold, err := h.resolve(ctx, name, was, d)
	if err != nil {
		return err
	}
	grants, _ := plugins.ParseCapabilities(next.Grants) // resolve has parsed them
	if missing := h.missingSecrets(grants); len(missing) > 0 && !d.AllowMissingSecrets {
		return core.Errorf(core.CodeSecretMissing, "binding %q is granted %s, which this node does not have", core.Clip(name), strings.Join(missing, ", "))
	}
	if old == nil {
		return h.create(ctx, next, hold)
	}
	// The generation beside would bring back what a deploy has changed.
	switch beside, _, err := h.others(ctx, name); {
	case err != nil:
		return err
	case beside != nil:
		return underWay(beside)
	}
	_, key := roleBeside.record(name)
	return h.change(ctx, old, next, hold, core.RecordOp{Table: othersTable, Key: key, Expect: core.NoStream, Action: core.CheckRecord})
}

// resolve makes the binding that a deploy asks for, and proves that it is ready to run. hold
// keeps its version from being deleted meanwhile.
func (h *Host) resolve(ctx context.Context, name string, old *plugins.Binding, d *plugins.Deploy) (b *plugins.Binding, hold core.RecordOp, err error) {
	plugin, version, err := d.Which(name, old)
	if err != nil {
		return nil, hold, err
	}
	v, err := h.config.Versions.Version(ctx, plugin, version)
	if err != nil {
		return nil, hold, err
	}
	next, err := resolved(d, name, old, &v)
	if err != nil {
		return nil, hold, err
	}
	if d.Admit != nil {
		if err := d.Admit(old, &next); err != nil {
			return nil, hold, err
		}
	}
	if err := h.config.Versions.CheckConfig(&v, next.Config); err != nil {
		return nil, hold, err
	}
	if hold, err = h.config.Versions.Hold(&v); err != nil {
		return nil, hold, err
	}
	program, err := h.config.Programs.Load(ctx, v)
	if err != nil {
		return nil, hold, err
	}
	next.Deployed, next.Stopped = time.Now().UTC().Truncate(time.Microsecond), ""
	if old == nil {
		next.Created = next.Deployed
	} else if old.Plugin != next.Plugin {
		next.Previous = ""
	} else if old.Version != next.Version {
		next.Previous = old.Version
	}
	return &next, hold, program.Close()
}

// resolved is Deploy.Resolve of a binding with a subscription.
func resolved(d *plugins.Deploy, name string, old *plugins.Binding, v *plugins.Version) (plugins.Binding, error) {
	if v.Manifest.Kind == plugins.KindValidate && old == nil {
		return plugins.Binding{}, core.Errorf(core.CodeInvalidRequest, "plugin %q is a validator, which judges appends and handles no events", v.Plugin)
	}
	return d.Resolve(name, old, v)
}

// create stores a new binding with its subscription, in one Commit.
func (h *Host) create(ctx context.Context, next *plugins.Binding, hold core.RecordOp) error {
	validator, err := h.record(ctx, plugins.ValidatorsTable, next.Name)
	switch {
	case err != nil:
		return err
	case validator != nil:
		return core.Errorf(core.CodeInvalidRequest, "binding %q is a validator: deploy under another name, or delete it first", next.Name)
	}
	last, err := h.lastGeneration(ctx, next.Name)
	if err != nil {
		return err
	}
	next.Generation, next.FirstGeneration = last+1, last+1
	d, err := h.definition(next)
	if err != nil {
		return err
	}
	_, err = h.config.Subscriptions.Bind(ctx, next.Subscription, &d, func(i subscriptions.Incarnation) ([]core.RecordOp, error) {
		b := &binding{Binding: *next, Incarnation: i.ID, Start: i.Start}
		noValidator := core.RecordOp{Table: plugins.ValidatorsTable, Key: b.Name, Expect: core.NoStream, Action: core.CheckRecord}
		return []core.RecordOp{b.put(), hold, noValidator}, nil
	})
	h.poke(next.Name)
	return err
}

// change stores a binding in place of an old one, in one Commit with other records.
func (h *Host) change(ctx context.Context, old *binding, next *plugins.Binding, with ...core.RecordOp) error {
	if err := h.config.Subscriptions.Owned(old.Subscription); err != nil {
		return err
	}
	b := *old
	b.Binding = *next
	b.Redeployed = b.Redeployed || b.Version != old.Version
	if s := b.Shadow; s != nil && (b.Plugin != old.Plugin || b.Version == s.Version) {
		b.Shadow = nil
	}
	_, err := h.config.Store.Append(ctx, core.Commit{Records: append(with, b.put())})
	h.poke(b.Name)
	return err
}

// Pause stops a binding at a batch boundary, until Resume. The errors are binding_not_found
// and record_conflict.
func (h *Host) Pause(ctx context.Context, name string) (plugins.Status, error) {
	return h.again(ctx, name, func() error {
		return h.edit(ctx, name, func(b *plugins.Binding) { b.Paused = true })
	})
}

// Resume ends Pause, and the stop of a binding that has stopped, and of the generation beside it.
// The errors are those of Pause.
func (h *Host) Resume(ctx context.Context, name string) (plugins.Status, error) {
	return h.again(ctx, name, func() error {
		beside, _, err := h.others(ctx, name)
		if err != nil {
			return err
		}
		var with []core.RecordOp
		if beside != nil && beside.Stopped != "" {
			beside.Stopped = ""
			with = append(with, beside.put())
		}
		return h.edit(ctx, name, func(b *plugins.Binding) { b.Paused, b.Stopped = false, "" }, with...)
	})
}

// edit changes a binding, in one Commit with other records.
func (h *Host) edit(ctx context.Context, name string, change func(*plugins.Binding), with ...core.RecordOp) error {
	old, err := h.binding(ctx, name)
	if err != nil {
		return err
	}
	next := old.Binding
	change(&next)
	return h.change(ctx, old, &next, with...)
}
