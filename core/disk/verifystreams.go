package disk

import (
	"github.com/gyre-events/gyre/core"
)

// takeLifecycle takes a change of a record, in the log's order.
func (v *verifier) takeLifecycle(c *recordChange) error {
	if c.table != lifecycleTable {
		return nil
	}
	l, ok := decodeLifecycle(c.value)
	if !ok {
		return core.Errorf(core.CodeStoreCorrupt, "the record of stream %q is malformed", core.Clip(c.key))
	}
	if v.changed == nil {
		v.changed = make(map[string]core.Lifecycle)
	}
	v.changed[c.key] = l
	return nil
}

// lifecycle is that of a stream at the log's end.
func (v *verifier) lifecycle(stream string) (core.Lifecycle, error) { return v.changed[stream], nil }

// isPresent reports whether the incarnation of a stream that the index has under a name is
// the present one.
func (v *verifier) isPresent(name string) bool {
	stream, incarnation := parseIndexName(name)
	return v.changed[stream].Incarnation() == incarnation
}
