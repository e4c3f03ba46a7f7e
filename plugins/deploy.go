package plugins

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
)

// Deploy is what a binding is to be. What it leaves out stays as it is; in a new binding it is
// what the manifest of the version says, but for grants, of which there are none.
type Deploy struct {
	Plugin  string `json:"plugin,omitzero"`  // that of the binding; its name, if it is new
	Version string `json:"version,omitzero"` // that of the binding; required if it is new
	// Input and Lanes cannot change after the binding was made.
	Input *Input `json:"input,omitzero"`
	Lanes int    `json:"lanes,omitzero"`
	// Grants replace those that the binding has. An empty list takes all back.
	Grants     []string        `json:"grants,omitzero"`
	Config     json.RawMessage `json:"config,omitempty"` // an object
	Limits     *Limits         `json:"limits,omitzero"`
	OnError    *ErrorPolicy    `json:"onError,omitzero"`
	AllowLoops *bool           `json:"allowLoops,omitzero"`
	// AllowMissingSecrets deploys also if the node that runs the binding does not have a secret
	// that is granted. Reads of it are answered with not found.
	AllowMissingSecrets bool `json:"allowMissingSecrets,omitzero"`

	// Admit refuses the binding that the deploy would make of another one, nil if there is none.
	// A nil Admit admits all.
	Admit func(was, is *Binding) error `json:"-"`
}

// Which returns the plugin and the version that a deploy of a binding is about. old is the
// binding as it is, nil if there is none.
func (d *Deploy) Which(name string, old *Binding) (plugin, version string, err error) {
	if err := ValidateName(name); err != nil {
		return "", "", err
	}
	from := ""
	if old == nil {
		old, from = &Binding{Plugin: name}, fmt.Sprintf(" and no plugin is deployed as %q", core.Clip(name))
	}
	plugin, version = cmp.Or(d.Plugin, old.Plugin), d.Version
	if version == "" && plugin == old.Plugin {
		version = old.Version
	}
	if version == "" {
		return "", "", core.Errorf(core.CodeInvalidRequest, "version is missing%s: say which version of plugin %q to run; gyre plugin versions lists them", from, core.Clip(plugin))
	}
	return plugin, version, nil
}

// Resolve returns the binding that a deploy makes with a version of old, which is nil if there
// is no binding yet. Times, and what a rollback goes back to, are not its business, nor is
// whether the config fits the version's schema. The error is invalid_request.
func (d *Deploy) Resolve(name string, old *Binding, v *Version) (Binding, error) {
	m := &v.Manifest
	if err := m.bindable(old); err != nil {
		return Binding{}, err
	}
	b := m.binding(name)
	if old != nil {
		b = *old
	}
	b.Plugin, b.Version, b.SHA256, b.Kind = v.Plugin, v.Version, v.SHA256, m.Kind
	if d.Input != nil {
		b.Input = *d.Input
	}
	b.Lanes = cmp.Or(d.Lanes, b.Lanes)
	if d.Grants != nil {
		if err := b.Regrant(d.Grants); err != nil {
			return Binding{}, err
		}
	}
	if why := m.cannotUse(b.Grants); why != "" {
		return Binding{}, core.Errorf(core.CodeInvalidRequest, "grants: %s", why)
	}
	if given := bytes.TrimSpace(d.Config); len(given) > 0 && string(given) != "null" {
		b.Config = given
	}
	if d.Limits != nil {
		b.Limits = d.Limits.orDefaultsOf(m.Kind)
	}
	if d.OnError != nil {
		b.OnError = d.OnError.orDefaults(m.Kind)
	}
	if d.AllowLoops != nil {
		b.AllowLoops = *d.AllowLoops
	}
	if m.Kind == KindValidate {
		if err := d.OnError.thenOnly(); err != nil {
			return Binding{}, err
		}
		b.Input.patternsOnly()
		old = nil // its input may change
	}
	if old != nil && (b.Lanes != old.Lanes || !reflect.DeepEqual(b.Input, old.Input)) {
		return Binding{}, core.Errorf(core.CodeInvalidRequest,
			"the input and the lanes of binding %q cannot change: deploy under another binding, or delete this one first", name)
	}
	if least := v.Report.MemoryBytes; b.Limits.MemoryBytes < least {
		return Binding{}, core.Errorf(core.CodeInvalidRequest,
			"limits.memoryBytes is %d, the module of version %q starts with %d bytes of memory", b.Limits.MemoryBytes, v.Version, least)
	}
	return b, b.Validate()
}

// bindable refuses a version that cannot have a binding, or not that which there is.
func (m *Manifest) bindable(old *Binding) error {
	switch {
	case m.Kind.Judges() && m.Kind != KindValidate:
		return core.Errorf(core.CodeInvalidRequest,
			"plugin %q is %s, which handles no events: it has no binding; a subscription names it as %s@%s in its definition, and gyre plugin upload stores it", m.Name, m.Kind.A(), m.Name, m.Version)
	case old != nil && (old.Kind == KindValidate) != (m.Kind == KindValidate):
		return core.Errorf(core.CodeInvalidRequest,
			"binding %q is %s, and version %q of plugin %q is %s: deploy it under another name, or delete the binding first", old.Name, old.Kind.A(), m.Version, m.Name, m.Kind.A())
	}
	return nil
}

// binding is what a new binding is if the deploy says nothing.
func (m *Manifest) binding(name string) Binding {
	b := Binding{
		Name: name, Generations: Generations{Generation: 1, FirstGeneration: 1}, Input: m.Subscription, Grants: []string{},
		Config: m.Config, Limits: m.Limits.orDefaultsOf(m.Kind), OnError: (&ErrorPolicy{}).orDefaults(m.Kind),
	}
	if m.Kind != KindValidate {
		b.Subscription, b.Lanes = name, max(m.Lanes, 1)
	}
	return b
}

// Validate checks a binding, but for the expressions of its input and its config. The error is
// invalid_request, and names the member.
func (b *Binding) Validate() error {
	if b.Kind == KindValidate {
		return b.validateValidator()
	}
	grants, err := ParseCapabilities(b.Grants)
	if err != nil {
		return core.Errorf(core.CodeInvalidRequest, "grants: %s", core.AsError(err).Detail)
	}
	for _, g := range grants {
		if g.Kind == CanAppend && b.Kind == KindProjection {
			return core.Errorf(core.CodeInvalidRequest, "grants: a projection appends nothing, and %q would let it", g.String())
		}
	}
	definition, err := b.Input.Definition()
	if err != nil {
		return core.Errorf(core.AsError(err).Code, "input: %s", core.AsError(err).Detail)
	}
	switch {
	case b.Lanes < 1 || b.Lanes > MaxLanes:
		return core.Errorf(core.CodeInvalidRequest, "lanes is %d, it may be from 1 to %d", b.Lanes, MaxLanes)
	case b.Lanes > 1 && definition.PartitionBy == delivery.Unpartitioned:
		return core.Errorf(core.CodeInvalidRequest, "lanes is %d, which needs an input.partitionBy such as stream", b.Lanes)
	case len(b.Config) > 0 && !strings.HasPrefix(string(b.Config), "{"):
		return core.Errorf(core.CodeInvalidPluginConfig, "config is an object, such as {\"threshold\":50}")
	}
	if err := b.Limits.Validate(); err != nil {
		return core.Errorf(core.CodeInvalidRequest, "limits.%s", core.AsError(err).Detail)
	}
	return b.OnError.validate()
}

// maxAttempts and maxBackoffMs bound error policies.
const (
	maxAttempts  = 1000
	maxBackoffMs = 3_600_000
)

// orDefaults returns p with the defaults of what it leaves out. Of a validator, only Then means
// anything.
func (p *ErrorPolicy) orDefaults(k Kind) ErrorPolicy {
	if k == KindValidate {
		return ErrorPolicy{Attempts: 1, Then: cmp.Or(p.Then, ThenRefuse)}
	}
	d := DefaultErrorPolicy()
	return ErrorPolicy{
		Attempts: cmp.Or(p.Attempts, d.Attempts), MinMs: cmp.Or(p.MinMs, d.MinMs),
		MaxMs: cmp.Or(p.MaxMs, max(d.MaxMs, p.MinMs)), Then: cmp.Or(p.Then, d.Then),
	}
}

func (p *ErrorPolicy) validate() error {
	switch {
	case p.Attempts < 1 || p.Attempts > maxAttempts:
		return core.Errorf(core.CodeInvalidRequest, "onError.attempts is %d, it may be from 1 to %d", p.Attempts, maxAttempts)
	case p.MinMs < 1 || p.MinMs > p.MaxMs || p.MaxMs > maxBackoffMs:
		return core.Errorf(core.CodeInvalidRequest, "onError waits from %d to %d ms: minMs is at least 1, and maxMs from minMs to %d", p.MinMs, p.MaxMs, maxBackoffMs)
	case p.Then != ThenPark && p.Then != ThenStop:
		return core.Errorf(core.CodeInvalidRequest, "onError.then is %q, it may be park or stop", core.Clip(string(p.Then)))
	}
	return nil
}
