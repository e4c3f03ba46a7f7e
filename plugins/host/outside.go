package host

import "github.com/gyre-events/gyre/plugins"

// nowhere is an effects.Outside that has nothing.
type nowhere struct{}

func (nowhere) Secret(string) (string, bool) { return "", false }

// missingSecrets are the secrets that a binding is granted and that this node does not have, as
// grants.
func (h *Host) missingSecrets(b *plugins.Binding) (missing []string) {
	grants, _ := plugins.ParseCapabilities(b.Grants) // Binding.Validate has parsed them
	for _, g := range grants {
		if g.Kind != plugins.CanReadSecret {
			continue
		}
		if _, ok := h.config.Outside.Secret(g.Scope); !ok {
			missing = append(missing, g.String())
		}
	}
	return missing
}
