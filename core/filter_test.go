package core

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// reference is what a pattern means.
func reference(pattern string) *regexp.Regexp {
	parts := strings.Split(pattern, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
}

func TestGlobIsTheReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(alphabet string, n int) string {
		runes := []rune(alphabet)
		var b strings.Builder
		for range r.IntN(n) {
			b.WriteRune(runes[r.IntN(len(runes))])
		}
		return b.String()
	}
	matched := 0
	for range 20_000 {
		pattern := random("abü***", 7)
		re := reference(pattern)
		for range 5 {
			s := random("aabü", 9)
			want := re.MatchString(s)
			if want {
				matched++
			}
			if got := matchGlob(pattern, s); got != want {
				t.Fatalf("%q matches %q: %v, want %v", pattern, s, got, want)
			}
		}
	}
	if matched < 5000 {
		t.Errorf("only %d matches: the test looks at little", matched)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b*c", "aXbXXc")
	f.Add("*a*a", "aa")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if !printable(pattern) || !printable(s) {
			t.Skip() // a regexp reads broken UTF-8 in its own way
		}
		if got, want := matchGlob(pattern, s), reference(pattern).MatchString(s); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, s, got, want)
		}
	})
}

func TestFilterMatch(t *testing.T) {
	cases := []struct {
		f           Filter
		stream, typ string
		want        bool
	}{
		{Filter{}, "a", "t", true},
		{Filter{Streams: []string{"order-*"}}, "order-1", "t", true},
		{Filter{Streams: []string{"order-*"}}, "orders", "t", false},
		{Filter{Streams: []string{"order-*"}}, "my-order-1", "t", false},
		{Filter{Streams: []string{"a", "b"}}, "b", "t", true},
		{Filter{Streams: []string{"a"}, Types: []string{"t"}}, "a", "u", false},
		{Filter{Streams: []string{"a"}, Types: []string{"u", "t"}}, "a", "t", true},
		{Filter{Types: []string{"*"}}, "a", "", true},
		{Filter{Types: []string{"?"}}, "a", "t", false},
	}
	for _, c := range cases {
		if got := c.f.Match(c.stream, c.typ); got != c.want {
			t.Errorf("%+v matches %q, %q: %v", c.f, c.stream, c.typ, got)
		}
	}
	if f := (Filter{}); !f.IsZero() {
		t.Error("the zero filter is not zero")
	}
}

func TestFilterValidate(t *testing.T) {
	good := []Filter{{}, {Streams: []string{"$all", "*", "ü*"}}, {Types: make64()}}
	for _, f := range good {
		if err := f.Validate(); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
	bad := []Filter{
		{Streams: []string{""}}, {Types: []string{"a", ""}}, {Types: []string{"a\n"}}, {Streams: []string{"\xff"}},
		{Streams: []string{strings.Repeat("x", MaxStreamNameBytes+1)}}, {Types: append(make64(), "x")}, {Streams: append(make64(), "x")},
	}
	for _, f := range bad {
		if err := f.Validate(); !errors.Is(err, CodeInvalidFilter) {
			t.Errorf("%.100v: %v, want invalid_filter", f, err)
		}
	}
}

func make64() []string {
	patterns := make([]string, MaxFilterPatterns)
	for i := range patterns {
		patterns[i] = "x"
	}
	return patterns
}

func TestFilterKey(t *testing.T) {
	filters := []Filter{
		{}, {Streams: []string{"a"}}, {Types: []string{"a"}}, {Streams: []string{"a", "b"}}, {Streams: []string{"ab"}},
		{Streams: []string{"a"}, Types: []string{"b"}}, {Types: []string{"a", "b"}}, {Streams: []string{"b", "a"}},
	}
	seen := make(map[string]int)
	for i, f := range filters {
		if j, ok := seen[f.key()]; ok {
			t.Errorf("%+v and %+v have the same key", f, filters[j])
		}
		seen[f.key()] = i
	}
}
