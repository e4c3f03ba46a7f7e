package host_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// TestUses: a version is in use by what runs it, in any generation or in the shadow, and by what would
// go back to it; and every version is, while a record cannot be read that may name it.
func TestUses(t *testing.T) {
	overEngines(t, func(t *testing.T, n *node) {
		n.append("Good", 5, 1)
		n.deployCopier()
		for _, version := range []string{"2", "3", "4", "5"} {
			n.add("copier", version, copierManifest, copier)
		}
		n.deploy("copier", plugins.Deploy{Version: "2"})
		n.rebuild("copier", plugins.Rebuild{Version: "3"})
		if _, err := n.host.Shadow(t.Context(), "copier", plugins.Shadow{Version: "4"}); err != nil {
			t.Fatal(err)
		}
		for version, want := range map[string][]string{"1": {"copier"}, "2": {"copier"}, "3": {"copier"}, "4": {"copier"}, "5": nil} {
			if got, err := n.host.Uses(t.Context(), "copier", version); err != nil || !slices.Equal(got, want) {
				t.Errorf("version %s: %q, %v; want %q", version, got, err, want)
			}
		}
		for _, r := range []core.RecordOp{
			{Table: "plugin_bindings", Key: "bad", Expect: core.AnyVersion, Value: []byte("{")},
			{Table: "plugin_others", Key: "copier/before", Expect: core.AnyVersion, Value: []byte("{")},
		} {
			if _, err := n.store.Append(t.Context(), core.Commit{Records: []core.RecordOp{r}}); err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(r.Key, "/")
			_, err := n.host.Uses(t.Context(), "other", "1")
			if !errors.Is(err, core.CodePluginInUse) || !strings.Contains(err.Error(), "gyre plugin rm "+name) {
				t.Errorf("of a record that cannot be read: %v", err)
			}
			page, err := n.host.List(t.Context(), plugins.ListRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Bindings {
				if wrong := s.Name == name; wrong != (s.State == plugins.Broken) || wrong && !strings.Contains(s.Reason, "gyre plugin rm "+name) {
					t.Errorf("%s is %s: %s", s.Name, s.State, s.Reason)
				}
			}
			if !slices.ContainsFunc(page.Bindings, func(s plugins.Status) bool { return s.Name == name }) {
				t.Errorf("%s is not listed", name)
			}
			if err := n.host.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if _, err := n.host.Uses(t.Context(), "other", "1"); err != nil {
				t.Error(err)
			}
		}
	})
}
