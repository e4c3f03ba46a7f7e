package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// settings fills the flags that the command line leaves out: from GYRE_* in the
// environment, else from the YAML file that --config names. A key is a flag's name
// in each of them, so that there is one set of names and one check of values. What
// the command has no flag for is passed over.
func (a *app) settings(cmd *cobra.Command) error {
	cmd.Flags().Visit(func(f *pflag.Flag) { a.comes(f.Name, wire.FromFlag, "--"+f.Name) })
	if err := a.fromEnvironment(cmd); err != nil {
		return err
	}
	file, err := cmd.Flags().GetString("config")
	if err != nil || file == "" {
		return err
	}
	return a.fromFile(cmd, file)
}

// origin is where a setting comes from.
type origin struct{ source, from string }

// comes notes where a setting comes from.
func (a *app) comes(name, source, from string) {
	if a.origins == nil {
		a.origins = map[string]origin{}
	}
	a.origins[name] = origin{source, from}
}

// envName is the environment's name for a flag: GYRE_LOG_LEVEL for log-level.
func envName(flag string) string {
	return "GYRE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (a *app) fromEnvironment(cmd *cobra.Command) error {
	for _, name := range append(settingNames(), "config") {
		v := a.getenv(envName(name))
		if v == "" || cmd.Flags().Lookup(name) == nil || cmd.Flags().Changed(name) {
			continue
		}
		if err := cmd.Flags().Set(name, v); err != nil {
			return core.Errorf(core.CodeInvalidConfig, "%s: %q is not a value for it: %w", envName(name), v, err)
		}
		a.comes(name, wire.FromEnvironment, envName(name))
	}
	return nil
}

func (a *app) fromFile(cmd *cobra.Command, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return core.Errorf(core.CodeInvalidConfig, "%w", err)
	}
	var keys map[string]yaml.Node
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return core.Errorf(core.CodeInvalidConfig, "%s: %w", name, err)
	}
	known := settingNames()
	for key, node := range keys {
		at := fmt.Sprintf("%s:%d", name, node.Line)
		if !slices.Contains(known, key) {
			hint := ""
			if near := nearest(key, known); near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			}
			return core.Errorf(core.CodeInvalidConfig, "%s: unknown key %q%s", at, key, hint)
		}
		flag := cmd.Flags().Lookup(key)
		if flag == nil || flag.Changed {
			continue
		}
		if err := setFromYAML(flag, &node); err != nil {
			return core.Errorf(core.CodeInvalidConfig, "%s: %s: %w", at, key, err)
		}
		flag.Changed = true
		a.comes(key, wire.FromFile, at)
	}
	return nil
}

// settingNames are the flags that a file may set: those of gyre serve.
func settingNames() []string {
	var names []string
	var cmd cobra.Command
	new(serveFlags).register(&cmd)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" {
			names = append(names, f.Name)
		}
	})
	return names
}

// setFromYAML gives a flag one value, or a list where the flag takes one.
func setFromYAML(f *pflag.Flag, node *yaml.Node) error {
	if list, ok := f.Value.(pflag.SliceValue); ok && node.Kind == yaml.SequenceNode {
		var values []string
		if err := node.Decode(&values); err != nil {
			return err
		}
		return list.Replace(values)
	}
	var v string
	if err := node.Decode(&v); err != nil {
		return fmt.Errorf("not a single value")
	}
	if err := f.Value.Set(v); err != nil {
		return fmt.Errorf("%q is not a value for it: %w", v, err)
	}
	return nil
}

// nearest is the name most like s, or "" if none is like it.
func nearest(s string, names []string) string {
	best, least := "", 0
	for _, n := range names {
		d := distance(s, n)
		if d <= max(len(s), len(n))/2 && (best == "" || d < least) {
			best, least = n, d
		}
	}
	return best
}

// distance counts the letters to add, remove or change to make a of b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// hidden stands in a setting for what is secret there.
const hidden = "•••"

// inEffect are the settings of a command, as the flags have them, without secrets.
func (a *app) inEffect(cmd *cobra.Command) (list []wire.Setting) {
	for _, name := range append(settingNames(), "config") {
		f := cmd.Flags().Lookup(name)
		if f == nil || f.Hidden {
			continue
		}
		o, ok := a.origins[name]
		if !ok {
			o = origin{source: wire.FromDefault}
		}
		s := wire.Setting{Name: name, Value: f.Value.String(), Default: f.DefValue, Source: o.source, From: o.from, Help: f.Usage}
		if many, ok := f.Value.(pflag.SliceValue); ok {
			s.Value, s.Default = strings.Join(many.GetSlice(), ","), ""
		}
		s.Value = shownSetting(name, s.Value)
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b wire.Setting) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// shownSetting is the value of a setting without what is secret in it: user, password and parameters of a
// URL, and the arguments of a command.
func shownSetting(name, value string) string {
	switch {
	case value == "":
		return ""
	case name == "postgres":
		target, err := postgres.Config{URL: value}.Target()
		if err != nil {
			return hidden // the node does not start
		}
		if strings.Contains(value, "@") {
			return "postgres://" + hidden + "@" + target.String()
		}
		return "postgres://" + target.String()
	case name == "peers-exec":
		if program, rest, ok := strings.Cut(strings.TrimSpace(value), " "); ok && rest != "" {
			return program + " " + hidden
		}
	}
	return value
}
