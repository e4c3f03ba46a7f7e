package registry

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
)

// verify checks all of a version that needs no compiler, and returns it.
func verify(u *Upload, module *wasm.Module, size int64) (plugins.Version, error) {
	manifest, err := manifestOf(u, module)
	if err != nil {
		return plugins.Version{}, err
	}
	if err := module.CheckABI(manifest.Entry()); err != nil {
		return plugins.Version{}, err
	}
	if err := checkSchema(manifest); err != nil {
		return plugins.Version{}, err
	}
	id := module.ID()
	v := plugins.Version{Plugin: u.Plugin, Version: u.Version, SHA256: hex.EncodeToString(id[:]), Bytes: size, Manifest: *manifest}
	v.Report = module.Report()
	v.Report.Warnings, err = Warnings(manifest, v.Report.Imports, v.Report.MemoryBytes)
	return v, err
}

// manifestOf returns the manifest of an upload, which is in the module, beside it, or both.
func manifestOf(u *Upload, module *wasm.Module) (*plugins.Manifest, error) {
	inside := module.Manifest()
	var manifest *plugins.Manifest
	for _, text := range [][]byte{inside, u.Manifest} {
		if text == nil {
			continue
		}
		m, err := plugins.DecodeManifest(text)
		if err != nil {
			return nil, err
		}
		if manifest != nil {
			if same, err := sameManifest(manifest, m); err != nil || !same {
				return nil, core.Errorf(core.CodeInvalidManifest, "the manifest in the module and the one beside it differ: leave one of them out, or build again")
			}
		}
		manifest = m
	}
	switch {
	case manifest == nil:
		return nil, core.Errorf(core.CodeInvalidManifest, "the module has no section %q, and no manifest is beside it: build it with gyre plugin build, or send one", plugins.ManifestSection)
	case manifest.Name != u.Plugin:
		return nil, core.Errorf(core.CodeInvalidManifest, "name: the manifest is of plugin %q, and it is uploaded as %.100q", manifest.Name, u.Plugin)
	case manifest.Version != u.Version:
		return nil, core.Errorf(core.CodeInvalidManifest, "version: the manifest is of version %q, and it is uploaded as %.100q", manifest.Version, u.Version)
	}
	return manifest, nil
}

// needs are the capabilities without which a function answers denied, whatever its arguments.
var needs = map[string]plugins.CapabilityKind{
	abi.Append:      plugins.CanAppend,
	abi.StateGet:    plugins.CanUseState,
	abi.StatePut:    plugins.CanUseState,
	abi.StateDelete: plugins.CanUseState,
	abi.StateScan:   plugins.CanUseState,
	abi.StreamRead:  plugins.CanReadStreams,
	abi.SecretGet:   plugins.CanReadSecret,
	abi.HTTP:        plugins.CanCallHTTP,
}

// Warnings are what works, and is likely not what somebody wants.
func Warnings(m *plugins.Manifest, imports []string, memory uint64) (list []string, err error) {
	if m.ABI == abi.Module {
		if list, err = unused(m, imports); err != nil {
			return nil, err
		}
	}
	if limit := m.Limits.OrDefaults().MemoryBytes; memory > limit {
		list = append(list, fmt.Sprintf("it starts with %d bytes of memory, and its manifest asks for %d: it cannot start unless a binding gives it more", memory, limit))
	}
	return list, nil
}

// unused are the warnings about capabilities that do not go with the imports. A module that
// imports what its manifest does not ask for is no error: SDKs link more than a plugin calls, and
// what is not granted is denied.
func unused(m *plugins.Manifest, imports []string) (list []string, err error) {
	asked, err := plugins.ParseCapabilities(m.Capabilities)
	if err != nil {
		return nil, err
	}
	imported := map[plugins.CapabilityKind][]string{}
	for _, name := range imports {
		if short, ok := strings.CutPrefix(name, abi.Module+"."); ok {
			if kind, ok := needs[short]; ok {
				imported[kind] = append(imported[kind], short)
			}
		}
	}
	for _, kind := range []plugins.CapabilityKind{plugins.CanAppend, plugins.CanUseState, plugins.CanReadStreams, plugins.CanReadSecret, plugins.CanCallHTTP} {
		isAsked := slices.ContainsFunc(asked, func(c plugins.Capability) bool { return c.Kind == kind })
		switch names := imported[kind]; {
		case len(names) > 0 && !isAsked:
			list = append(list, fmt.Sprintf("it imports %s, and its manifest asks for no capability %q: calls answer denied, unless a binding grants it", strings.Join(names, ", "), kind))
		case len(names) == 0 && isAsked:
			list = append(list, fmt.Sprintf("its manifest asks for the capability %q, and it imports nothing that needs it", kind))
		}
	}
	return list, nil
}
