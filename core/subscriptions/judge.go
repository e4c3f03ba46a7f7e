package subscriptions

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Judge is a plugin in a definition.
type Judge struct {
	As              JudgeAs
	Plugin, Version string
}

// JudgeAs is what a plugin is in a definition. It is the kind of the plugin.
type JudgeAs string

// What a plugin can be in a definition.
const (
	AsFilter    JudgeAs = "filter"
	AsMap       JudgeAs = "map"
	AsPartition JudgeAs = "partition"
)

// Judges makes programs of plugins. It is safe for concurrent use.
type Judges interface {
	// Hold checks that a plugin can be what a definition says, and returns an operation for the
	// Commit of the definition, by which its version is not deleted meanwhile. The errors are
	// plugin_not_found, version_not_found, invalid_request and not_supported.
	Hold(ctx context.Context, j Judge) (core.RecordOp, error)
	// Open returns the Program of a plugin. It does not wait: the plugin is loaded by the first Run.
	Open(j Judge) (Program, error)
}

// maxJudgeBytes bounds NAME@VERSION.
const maxJudgeBytes = 63 + 1 + 64

// parseJudge parses NAME@VERSION; field is where it stands.
func parseJudge(as JudgeAs, field, text string) (Judge, error) {
	plugin, version, ok := strings.Cut(text, "@")
	if !ok || plugin == "" || version == "" || len(text) > maxJudgeBytes {
		return Judge{}, core.Errorf(core.CodeInvalidRequest, "%s: %q is not a plugin with its version, such as large-orders@1.0.0", field, core.Clip(text))
	}
	return Judge{as, plugin, version}, nil
}

// judges are the plugins of a definition: filter, partitioner and map, in this order.
func (d *Definition) judges() (list []Judge, err error) {
	by, partitions := strings.CutPrefix(d.PartitionBy, ByPlugin)
	for _, in := range []struct {
		as          JudgeAs
		field, text string
		is          bool
	}{
		{AsFilter, "filter.plugin", string(d.Filter.Plugin), d.Filter.Plugin != ""},
		{AsPartition, "partitionBy", by, partitions},
		{AsMap, "map.plugin", d.Map.Plugin, d.Map.Plugin != ""},
	} {
		if !in.is {
			continue
		}
		j, err := parseJudge(in.as, in.field, in.text)
		if err != nil {
			return nil, err
		}
		list = append(list, j)
	}
	return list, nil
}

// holdJudges checks the plugins of a definition, and returns operations by which their versions are
// kept.
func (o *Owner) holdJudges(ctx context.Context, d *Definition) (ops []core.RecordOp, err error) {
	judges, err := d.judges()
	if err != nil || len(judges) == 0 {
		return nil, err
	}
	if o.config.Judges == nil {
		return nil, errNoPlugins()
	}
	for _, j := range judges {
		op, err := o.config.Judges.Hold(ctx, j)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func errNoPlugins() error {
	return core.Errorf(core.CodeNotSupported, "no plugins run here, so a definition cannot have one")
}

// check checks what Definition.Validate does not: that the expressions of a definition compile, and
// that its plugins are there. The errors are those of the Compiler and of Judges.Hold.
func (o *Owner) check(ctx context.Context, d *Definition) error {
	if _, err := o.holdJudges(ctx, d); err != nil {
		return err
	}
	s, err := newSelector(d, o.Programs())
	if err != nil {
		return err
	}
	return s.close()
}

// commitDefinition is commit of a definition with its other operations. Definitions that come to
// use the same version at the same moment are committed one after the other.
func (o *Owner) commitDefinition(ctx context.Context, d *Definition, ops ...core.RecordOp) error {
	for try := 1; ; try++ {
		holds, err := o.holdJudges(ctx, d)
		if err != nil {
			return err
		}
		err = o.commit(ctx, slices.Concat(ops, holds)...)
		if len(holds) == 0 || !errors.Is(err, core.CodeSubscriptionInterrupted) || try == maxHolds {
			return err
		}
	}
}

// maxHolds bounds the tries of a Commit, one of which succeeds whenever others fail.
const maxHolds = 100

// Uses lists the stored subscriptions whose definitions name a version of a plugin, whoever owns
// them, by their names. So are those of a binding's other generations. One whose record cannot be read
// may name any: the error is plugin_in_use then.
func (o *Owner) Uses(ctx context.Context, plugin, version string) (names []string, err error) {
	for _, table := range []string{definitionsTable, unnamedTable} {
		err := o.records.each(ctx, table, "", "", core.MaxReadEvents, func(record *core.Record) (bool, error) {
			var l incarnation
			if err := decode(table, record, &l); err != nil {
				return false, core.Errorf(core.CodePluginInUse, "version %q of plugin %q may be in use: %s, so nobody knows which versions the subscription names", version, plugin, core.AsError(err).Detail)
			}
			judges, err := l.Definition.judges()
			if slices.ContainsFunc(judges, func(j Judge) bool { return j.Plugin == plugin && j.Version == version }) {
				name, _, _ := strings.Cut(record.Key, "/"+l.ID)
				names = append(names, name)
			}
			return true, err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
