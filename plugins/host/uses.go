package host

import (
	"context"
	"slices"

	"github.com/gyre-events/gyre/core"
)

// Uses lists the bindings that run a version, in any generation or in the shadow, or would go back to
// it. One whose record cannot be read may use any: the error is plugin_in_use then.
func (h *Host) Uses(ctx context.Context, plugin, version string) (names []string, err error) {
	for _, table := range []string{bindingsTable, othersTable} {
		err := h.scan(ctx, table, "", "", func(r *core.Record) (bool, error) {
			b, err := decodeBinding(table, r)
			if err != nil {
				return false, core.Errorf(core.CodePluginInUse, "version %q of plugin %q may be in use: %s, and a newer Gyre may be able to read it", version, plugin, core.AsError(err).Detail)
			}
			if b.uses(plugin, version) && !slices.Contains(names, b.Name) {
				names = append(names, b.Name)
			}
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// uses reports whether a generation runs a version, or would go back to it.
func (b *binding) uses(plugin, version string) bool {
	return b.Plugin == plugin && (b.Version == version || b.Previous == version || b.Shadow != nil && b.Shadow.Version == version)
}
