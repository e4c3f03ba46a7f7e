package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

// copyKeys copies the keys of the source, before the events: a copy that is interrupted is
// protected, too. A node neither gives nor takes their hashes.
func (c *copier) copyKeys(ctx context.Context) (err error) {
	from, isStore := c.from.wholeLog.(keys.Store)
	to, intoStore := c.to.wholeLog.(keys.Store)
	if !isStore || !intoStore {
		return nil
	}
	c.done.Keys, err = keys.Copy(ctx, from, to)
	if err != nil {
		return c.to.explain(err)
	}
	if c.done.Keys > 0 {
		fmt.Fprintf(c.app.stderr, "%s in %s.\n", howMany(c.done.Keys, "key is", "keys are"), c.to.name)
	}
	return nil
}

// warnOpen says that the source has keys, and the target has none.
func (c *copier) warnOpen(ctx context.Context) error {
	protected, err := c.from.protected(ctx)
	if err != nil || !protected {
		return err
	}
	if protected, err = c.to.protected(ctx); err != nil || protected {
		return err
	}
	fmt.Fprintf(c.app.stderr, "Warning: %s has keys, and they were not copied: whoever reaches a node of %s may read and write everything.\n"+
		"Make its first key: gyre auth init%s\n", c.from.name, c.to.name, c.to.initFlags)
	return nil
}

// protected reports whether an end has keys.
func (l *logEnd) protected(ctx context.Context) (bool, error) {
	switch log := l.wholeLog.(type) {
	case *sdk.Client:
		who, err := log.Keys().Principal(ctx, sdk.Question{})
		if errors.Is(err, core.CodeNotFound) {
			return false, nil // a node of a version without keys
		}
		return who.Name != access.Anonymous, l.explain(err)
	case keys.Store:
		protected, err := keys.Protected(ctx, log)
		return protected, l.explain(err)
	}
	return false, nil
}
