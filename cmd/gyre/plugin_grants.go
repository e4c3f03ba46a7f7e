package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// grants decides what a deploy grants. is is the binding as it is, nil if it is new; nil leaves
// its grants as they are.
func (a *app) grants(d *deployment, m *plugins.Manifest, is *plugins.Binding) ([]string, error) {
	given, err := plugins.ParseCapabilities(d.grants)
	if err != nil {
		return nil, usagef("--grant append:order-*, or --grant http:api.example.com:443").because("--grant: %s", core.AsError(err).Detail)
	}
	asked, err := plugins.ParseCapabilities(m.Capabilities)
	if err != nil {
		return nil, err
	}
	granted := given
	if is != nil {
		has, err := plugins.ParseCapabilities(is.Grants)
		if err != nil {
			return nil, err
		}
		for _, c := range has {
			if !answers(given, c) {
				granted = append(granted, c)
			}
		}
	}
	var missing, named plugins.Capabilities // the latter have to be named
	for _, c := range asked {
		switch {
		case answers(granted, c):
		case needsName(c):
			named = append(named, c)
		default:
			missing = append(missing, c)
		}
	}
	if err := a.confirm(d, m, slices.Concat(missing, named), len(named) > 0); err != nil {
		return nil, err
	}
	texts := []string{}
	for _, c := range slices.Concat(granted, missing, named) {
		texts = append(texts, c.String())
	}
	return texts, nil
}

// needsName reports whether a capability reaches out of the store, so that it is granted by name
// only.
func needsName(c plugins.Capability) bool {
	return c.Kind == plugins.CanCallHTTP || c.Kind == plugins.CanReadSecret
}

// answers reports whether grants decide about a capability: of http and secret about each, of
// others about the kind.
func answers(grants plugins.Capabilities, c plugins.Capability) bool {
	return slices.ContainsFunc(grants, func(g plugins.Capability) bool {
		return g == c || g.Kind == c.Kind && (!needsName(c) || plugins.Capabilities{g}.Allow(c.Kind, c.Scope))
	})
}

// confirm asks about what is to be granted, or off a terminal refuses what has to be named.
func (a *app) confirm(d *deployment, m *plugins.Manifest, wanted plugins.Capabilities, named bool) error {
	switch {
	case len(wanted) == 0:
		return nil
	case d.yes || !a.canAsk():
		if !named {
			return nil
		}
		var flags, names []string
		for _, c := range wanted {
			if needsName(c) {
				flags, names = append(flags, "--grant "+shellQuote(c.String())), append(names, c.String())
			}
		}
		err := core.Errorf(core.CodeGrantRequired, "plugin %q asks for %s, which has to be granted by name; nothing was deployed", m.Name, strings.Join(names, " and "))
		return &advised{err, "if you trust it with that, add " + strings.Join(flags, " ")}
	}
	fmt.Fprintf(a.stderr, "%s %s asks to:\n", cell(m.Name, maxNameCell), cell(m.Version, maxNameCell))
	for _, c := range wanted {
		fmt.Fprintf(a.stderr, "  %-28s %s\n", cell(c.String(), maxNameCell), capabilityWords(c))
	}
	if a.agreed("Grant this?") {
		return nil
	}
	return &advised{core.Errorf(core.CodeGrantRequired, "it was not granted, and nothing was deployed"), "grant less with --grant, such as --grant append:order-*"}
}

// capabilityWords says what a capability lets a plugin do.
func capabilityWords(c plugins.Capability) string {
	scope := cell(c.Scope, maxNameCell)
	switch c.Kind {
	case plugins.CanAppend:
		return "append events to streams " + scope
	case plugins.CanUseState:
		return "keep state of its own"
	case plugins.CanReadStreams:
		return "read streams " + scope
	case plugins.CanCallHTTP:
		return "call " + scope + " over HTTP"
	case plugins.CanReadSecret:
		return "read the secret " + scope
	}
	return ""
}

// canAsk reports whether a person can be asked.
func (a *app) canAsk() bool {
	in, ok := a.stdin.(*patientReader)
	return ok && isTerminal(in.from) && isTerminal(a.stderr)
}
