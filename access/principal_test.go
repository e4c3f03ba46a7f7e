package access

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

func TestRolesDecide(t *testing.T) {
	orders := []string{"order-*"}
	for _, c := range []struct {
		p      *Principal
		a      Action
		target string
		want   core.Code // "" is allowed
	}{
		{&Principal{Role: Admin}, Append, "order-1", ""},
		{&Principal{Role: Admin}, Read, "$audit", ""},
		{&Principal{Role: Admin}, ManageKeys, "", ""},
		{Anyone(context.Background()), ManageKeys, "", ""},
		{Node("n1"), Append, "order-1", ""},

		{&Principal{Role: Writer, Streams: orders}, Append, "order-1", ""},
		{&Principal{Role: Writer, Streams: orders}, Append, "billing-1", core.CodeForbidden},
		{&Principal{Role: Writer, Streams: orders}, Read, "order-1", ""},
		{&Principal{Role: Writer, Streams: []string{"$all"}}, Read, "$all", core.CodeForbidden},
		{&Principal{Role: Writer, Streams: []string{"$all"}}, Append, "billing-1", ""},
		{&Principal{Role: Writer, Streams: []string{"*"}}, Read, "$audit", core.CodeForbidden},
		{&Principal{Role: Writer}, Append, "order-1", core.CodeForbidden},
		{&Principal{Role: Writer, Streams: orders}, ManageKeys, "", core.CodeForbidden},

		{&Principal{Role: Reader, Streams: orders}, Read, "order-1", ""},
		{&Principal{Role: Reader, Streams: orders}, Read, "$all", ""},
		{&Principal{Role: Reader}, Read, "$all", core.CodeForbidden},
		{&Principal{Role: Reader, Streams: []string{"$all"}}, Read, "billing-1", ""},
		{&Principal{Role: Reader, Streams: []string{"$all"}}, Read, "$audit", core.CodeForbidden},
		{&Principal{Role: Reader, Streams: orders}, Append, "order-1", core.CodeForbidden},

		{&Principal{Role: Operator}, SteerSubscriptions, "", ""},
		{&Principal{Role: Operator}, SteerCluster, "", ""},
		{&Principal{Role: Operator}, Read, "order-1", core.CodeForbidden},
		{&Principal{Role: Operator, Streams: orders}, Read, "order-1", ""},
		{&Principal{Role: Operator, Streams: orders}, Append, "order-1", core.CodeForbidden},
		{&Principal{Role: Operator}, ManageKeys, "", core.CodeForbidden},

		{&Principal{Role: PluginAuthor, Streams: orders}, DeployPlugins, "", ""},
		{&Principal{Role: PluginAuthor, Streams: orders}, Read, "order-1", core.CodeForbidden},
		{&Principal{Role: PluginAuthor}, SteerSubscriptions, "", core.CodeForbidden},

		{&Principal{Role: Reader, Names: []string{"b*"}}, Progress, "billing", ""},
		{&Principal{Role: Reader, Names: []string{"b*"}}, Progress, "mail", core.CodeForbidden},
		{&Principal{Role: Reader}, Progress, "mail", ""},
		{&Principal{Role: Reader, Names: []string{}}, Progress, "mail", core.CodeForbidden},

		{Nobody(), Open, "", ""},
		{Nobody(), SeeServer, "", core.CodeUnauthenticated},
		{Of(context.Background()), Read, "order-1", core.CodeUnauthenticated},
	} {
		err := c.p.Check(c.a, c.target)
		if c.want == "" && err != nil || c.want != "" && !errors.Is(err, c.want) {
			t.Errorf("%s %v %s %s: %v, want %q", c.p.Role, c.p.Streams, c.a, c.target, err, c.want)
		}
	}
}

// TestEquivalent: no names are others than none that are listed.
func TestEquivalent(t *testing.T) {
	all, none := &Principal{Role: Reader}, &Principal{Role: Reader, Names: []string{}}
	if all.Equivalent(none) || none.Equivalent(all) || !none.Equivalent(none) || !all.Equivalent(all) {
		t.Error("a key that may use all names is that of one that may use none")
	}
}

// TestAnswersAboutGrants: who may grant what is not a stream covers it, and nobody else does.
func TestAnswersAboutGrants(t *testing.T) {
	for _, role := range Roles() {
		p := &Principal{Role: role, Streams: []string{"*"}}
		if (p.Answers(Grant, "", "") == nil) != (p.Covers(Grant, "http:api.example.com:443") == nil) {
			t.Errorf("%s: %v, %v", role, p.Answers(Grant, "", ""), p.Covers(Grant, "http:api.example.com:443"))
		}
	}
}

// TestRefusalsAreWords: a refusal says what may not be done in words, and not by the ids of actions.
func TestRefusalsAreWords(t *testing.T) {
	p := &Principal{Name: "k1", Role: PluginAuthor, Names: []string{"mine"}}
	for a, want := range map[Action]string{
		ManageKeys:         "plugin-author k1 may not manage keys: its role does not allow that",
		SteerSubscriptions: "plugin-author k1 may not steer subscription x: its role does not allow that",
		Read:               "plugin-author k1 may not read x: its role does not allow that",
		DeployPlugins:      "plugin-author k1 may not deploy binding x: its names are mine",
	} {
		target := "x"
		if a.Target() == Nothing {
			target = ""
		}
		if err := core.AsError(p.Check(a, target)); err.Detail != want {
			t.Errorf("%s, want %s", err.Detail, want)
		}
	}
	for _, a := range Actions() {
		err := core.AsError(Nobody().Check(a, ""))
		if a != Open && (strings.Contains(a.with(""), ".") || !strings.HasPrefix(err.Detail, "a key is needed to ")) {
			t.Errorf("%s is said as %q", a, err.Detail)
		}
	}
}

// TestEndedPrincipalsMayDoNothing: also one that could do everything.
func TestEndedPrincipalsMayDoNothing(t *testing.T) {
	ends, end := context.WithCancelCause(t.Context())
	for _, p := range []*Principal{Anyone(ends), Principal{Role: Admin}.Until(ends)} {
		if err := p.Check(Append, "order-1"); err != nil {
			t.Error(err)
		}
	}
	p := Principal{Role: Admin}.Until(ends)
	heard := make(chan error, 1)
	p.AfterEnd(func(why error) { heard <- why })
	end(core.Errorf(core.CodeUnauthenticated, "the key was revoked"))
	if err := <-heard; !errors.Is(err, core.CodeUnauthenticated) {
		t.Errorf("it ended with %v", err)
	}
	for _, p := range []*Principal{Anyone(ends), p} {
		if err := p.Check(Append, "order-1"); !errors.Is(err, core.CodeUnauthenticated) {
			t.Errorf("%s: %v", p.Role, err)
		}
	}
}

// TestCoversIsSound: a pattern that is covered matches nothing that the others do not.
func TestCoversIsSound(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(alphabet string, most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteByte(alphabet[r.IntN(len(alphabet))])
		}
		return b.String()
	}
	covered := 0
	for range 50_000 {
		patterns := []string{random("ab*", 4), random("ab*", 4)}
		pattern := random("ab*", 5)
		if !covers(patterns, pattern) {
			continue
		}
		covered++
		for range 20 {
			text := strings.ReplaceAll(pattern, "*", strings.TrimSpace(random("ab ", 3)))
			if core.MatchAny([]string{pattern}, text) && !core.MatchAny(patterns, text) {
				t.Fatalf("%q is covered by %q, and matches %q", pattern, patterns, text)
			}
		}
	}
	if covered < 1000 {
		t.Errorf("only %d were covered: the test looks at little", covered)
	}
	for pattern, want := range map[string]bool{"order-*": true, "order-1": true, "ord*": false, "*": false, "$audit": false, "$all": false} {
		if got := covers([]string{"order-*", "x*y"}, pattern); got != want {
			t.Errorf("%s: covered %v", pattern, got)
		}
	}
	if !covers([]string{core.All}, "*") || covers(nil, "a") || covers([]string{"*"}, "$audit") {
		t.Error("everything is covered by $all but what is the system's, and nothing by no pattern")
	}
}
