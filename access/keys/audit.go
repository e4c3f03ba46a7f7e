package keys

import (
	"context"
	"encoding/json"
	"time"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// Audit is the stream of administrative acts. Only the node writes it, and only an admin
// reads it.
const Audit = "$audit"

// Types of the events about keys.
const (
	keyCreated = "KeyCreated"
	keyRevoked = "KeyRevoked"
)

// Act is the data of an event of the audit.
type Act struct {
	By     string `json:"by"`               // the principal that did it
	Role   string `json:"role,omitempty"`   // that principal's
	Node   string `json:"node,omitempty"`   // at which it was asked for
	From   string `json:"from,omitempty"`   // the address that it was asked from
	Target string `json:"target,omitempty"` // what it was done to
	// Outcome is unknown_outcome of an act that may not have been done; "": it was.
	Outcome core.Code `json:"outcome,omitempty"`
	Detail  any       `json:"detail,omitempty"`
}

// entry is the append of an act.
func entry(kind string, a *Act) (core.Append, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return core.Append{}, core.Errorf(core.CodeInternal, "the audit of %s: %w", kind, err)
	}
	e := core.NewEvent{ID: core.NewID(), Type: kind, Data: data}
	return core.Append{Stream: Audit, Expect: core.AnyVersion, Events: []core.NewEvent{e}}, nil
}

// auditTimeout bounds the write of an act that was done.
const auditTimeout = 5 * time.Second

// Record writes an act that was done, or may have been, to the audit. kind is a type of events.
func (k *Keys) Record(ctx context.Context, kind string, a Act) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	a.fill(ctx, k.config.Node)
	e, err := entry(kind, &a)
	if err == nil {
		_, err = k.config.Commits.Append(ctx, core.Commit{System: true, Appends: []core.Append{e}})
	}
	return err
}

// fill adds who did it, where, and from where.
func (a *Act) fill(ctx context.Context, node string) {
	p := access.Of(ctx)
	a.By, a.Role, a.Node, a.From = p.Name, string(p.Role), node, string(access.AddressOf(ctx))
}
