package host

import (
	"context"
	"errors"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/effects"
	"github.com/gyre-events/gyre/plugins/outside"
)

// nowhere is an effects.Outside that has nothing.
type nowhere struct{}

func (nowhere) Secret(string) (string, bool) { return "", false }

func (nowhere) Call(context.Context, *outside.Request) (*outside.Response, error) {
	return nil, errors.New("this node calls no other servers")
}

// counted is an effects.Outside whose calls are counted.
type counted struct {
	effects.Outside
	totals *totals
}

// Call is effects.Outside's.
func (c counted) Call(ctx context.Context, r *outside.Request) (*outside.Response, error) {
	began := time.Now()
	response, err := c.Outside.Call(ctx, r)
	c.totals.called(time.Since(began), err != nil)
	return response, err
}

// describeOutside adds what a binding has to do with the world outside of the store. Only the owner
// says which secrets it lacks.
func (h *Host) describeOutside(b *plugins.Binding, s *plugins.Status) {
	grants, _ := plugins.ParseCapabilities(b.Grants) // Binding.Validate has parsed them
	s.AtLeastOnce = grants.CallOut()
	if h.config.Subscriptions.Owned(b.Subscription) == nil {
		s.MissingSecrets = h.missingSecrets(grants)
	}
}

// missingSecrets are the secrets that are granted and that this node does not have, as grants.
func (h *Host) missingSecrets(grants plugins.Capabilities) (missing []string) {
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
