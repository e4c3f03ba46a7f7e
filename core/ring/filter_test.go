package ring_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gyre-events/gyre/core/ring"
)

func TestFilter(t *testing.T) {
	list := func(patterns ...string) []string { return patterns }
	for _, c := range []struct {
		name          string
		filter        ring.Filter
		admits, drops []string
	}{
		{"none", ring.Filter{}, list("a", "node1@127.0.0.1", "_maint_", "x_upgrader_"), list("remsh-1", "remsh", "a_upgrader_1", "db_maint_7")},
		{"deny", ring.Filter{Deny: list("a", "/^batch/")}, list("aa", "b", "xbatch"), list("a", "batch1", "batch", "remsh1")},
		{"deny matches a part", ring.Filter{Deny: list("/b.t/")}, list("bt"), list("a-bat-b")},
		{"an id is no expression", ring.Filter{Deny: list("a.c")}, list("abc"), list("a.c")},
		{"allow", ring.Filter{Allow: list("a", "/^node/")}, list("a", "node1"), list("b", "anode", "remsh1")},
		{"allow wins", ring.Filter{Allow: list("/^node/"), Deny: list("node1", "b")}, list("node1"), list("b", "c")},
		{"allow wins over what is always denied", ring.Filter{Allow: list("/_maint_/")}, list("a_maint_b"), list("a")},
		{"what does not compile matches nothing", ring.Filter{Deny: list("/(/", "", "//", "/a")}, list("a", "/(/", ""), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			admits := c.filter.Compile()
			for _, node := range c.admits {
				if !admits(node) {
					t.Errorf("%q is left out", node)
				}
			}
			for _, node := range c.drops {
				if admits(node) {
					t.Errorf("%q is admitted", node)
				}
			}
		})
	}
}

func TestCheckPattern(t *testing.T) {
	for pattern, problem := range map[string]string{
		"node1@127.0.0.1": "", "/^batch/": "", "/": "between slashes", "//": "between slashes", "/a": "between slashes", "/(/": "missing closing )", "": "empty",
	} {
		if err := ring.CheckPattern(pattern); problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("%q: %v, want %q", pattern, err, problem)
		}
	}
}

func TestFilterTextIsThatOfItsPatterns(t *testing.T) {
	for want, f := range map[string]ring.Filter{
		"none": {}, "deny a b": {Deny: []string{"b", "a", "b"}}, "allow c, deny a": {Allow: []string{"c"}, Deny: []string{"a"}},
	} {
		if got := f.String(); got != want {
			t.Errorf("%+v is %q, want %q", f, got, want)
		}
	}
}

// filtered is a member with a filter that denies nodes.
func filtered(session uint64, node string, denies ...string) ring.Member {
	return ring.Member{Session: session, Node: node, Filter: ring.Filter{Deny: denies}}
}

func TestWhoIsFilteredOut(t *testing.T) {
	a, b, c := filtered(1, "a", "c"), filtered(2, "b", "c"), filtered(3, "c", "c")
	again, free := filtered(4, "c", "c"), filtered(2, "b")
	free5 := filtered(5, "d")
	view := func(members ...ring.Member) *ring.View { return &ring.View{Epoch: 7, Members: members, Quorum: 1} }
	for name, test := range map[string]struct {
		scene *scene
		want  []string
	}{
		"a node comes that the proposer denies":    {newScene(1, 1, view(a, b), a, b, c), nil},
		"a node comes that only another admits":    {newScene(1, 1, view(a, free), a, free, c), nil},
		"a node comes that the proposer admits":    {newScene(2, 1, view(a, free), a, free, c), []string{"a/1", "b/2", "c/3"}},
		"the first view":                           {newScene(1, 2, nil, a, b, c), []string{"a/1", "b/2"}},
		"the first view, of one that is denied":    {newScene(3, 2, nil, a, b, c), []string{"a/1", "b/2"}},
		"who is denied is no part of a quorum":     {newScene(1, 3, nil, a, b, c), nil},
		"a member that all others deny":            {newScene(1, 1, view(a, b, c), a, b, c), []string{"a/1", "b/2"}},
		"a member that denies itself, among two":   {newScene(3, 1, view(a, c), a, c), []string{"a/1"}},
		"a member that another admits":             {newScene(1, 1, view(a, free, c), a, free, c), nil},
		"a member that only an outsider admits":    {newScene(1, 1, view(a, c), a, c, free5), []string{"a/1", "c/3", "d/5"}},
		"a member that all others deny, is needed": {newScene(1, 3, view(a, b, c), a, b, c), nil},
		"a member that is denied starts again":     {newScene(1, 1, view(a, free, c), a, free, again), []string{"a/1", "b/2"}},
		"a member denies itself and is alone":      {newScene(3, 1, view(c), c), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if p, _ := test.scene.until(10 * time.Second); !slices.Equal(nodes(p), test.want) {
				t.Errorf("it proposes %v because %q, want %v", nodes(p), p.Next.Reason, test.want)
			}
		})
	}
}

// TestFiltersThatDifferDoNotTakeTurns: whatever filters the nodes have, and whoever proposes
// first, the ring comes to a view that nobody wants to change.
func TestFiltersThatDifferDoNotTakeTurns(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(t *rapid.T) {
		var sessions []ring.Member
		for i, id := range ids {
			f := ring.Filter{Deny: rapid.SliceOfDistinct(rapid.SampledFrom(ids), rapid.ID).Draw(t, "deny")}
			sessions = append(sessions, ring.Member{Session: uint64(i + 1), Node: id, Filter: f})
		}
		quorum := rapid.IntRange(1, 3).Draw(t, "quorum")
		var view *ring.View
		for range 12 {
			var next *ring.View
			for _, i := range rapid.Permutation([]int{0, 1, 2, 3}).Draw(t, "order") {
				p, _ := newScene(sessions[i].Session, quorum, view, sessions...).until(4 * time.Second)
				if len(p.Next.Members) > 0 {
					next = &p.Next
					break
				}
			}
			if next == nil {
				return
			}
			view = next
		}
		t.Fatalf("there is no end of views: the last is %v because %s", view.Members, view.Reason)
	})
}
