package ring

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Filter says which nodes may be members, by patterns over their ids: --node-allow and
// --node-deny. A pattern is a node id, or a regular expression between slashes, which may
// match a part of the id. A node that is left out is only an entry node: it takes calls, owns
// nothing, is in no view and counts for no quorum.
type Filter struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// alwaysDenied are the patterns of nodes that are there for a while only: remote shells,
// upgrades and maintenance. Deny adds to them.
var alwaysDenied = []matcher{
	regexp.MustCompile(`^remsh.*`).MatchString,
	regexp.MustCompile(`^.+_upgrader_.+`).MatchString,
	regexp.MustCompile(`^.+_maint_.+`).MatchString,
}

// matcher reports whether a node id matches a pattern.
type matcher func(node string) bool

// CheckPattern returns an error that says what is wrong with a pattern, or nil.
func CheckPattern(pattern string) error {
	_, err := compile(pattern)
	return err
}

func compile(pattern string) (matcher, error) {
	text, isRegexp := strings.CutPrefix(pattern, "/")
	if !isRegexp {
		if pattern == "" {
			return nil, fmt.Errorf("a pattern is empty")
		}
		return func(node string) bool { return node == pattern }, nil
	}
	text, closed := strings.CutSuffix(text, "/")
	if !closed || text == "" {
		return nil, fmt.Errorf("%q is not a regular expression between slashes, such as /^batch/", pattern)
	}
	expression, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a regular expression: %w", pattern, err)
	}
	return expression.MatchString, nil
}

// Compile returns a function that reports whether a node may be a member. With Allow, only
// nodes that match it may be, whatever Deny says. Without it, all may be that match neither
// Deny nor the patterns that are always denied. A pattern that does not compile matches
// nothing: another version may understand it.
func (f Filter) Compile() (admits func(node string) bool) {
	if len(f.Allow) > 0 {
		allowed := compileAll(f.Allow)
		return func(node string) bool { return anyMatches(allowed, node) }
	}
	denied := append(compileAll(f.Deny), alwaysDenied...)
	return func(node string) bool { return !anyMatches(denied, node) }
}

func compileAll(patterns []string) (list []matcher) {
	for _, pattern := range patterns {
		if m, err := compile(pattern); err == nil {
			list = append(list, m)
		}
	}
	return list
}

func anyMatches(list []matcher, node string) bool {
	return slices.ContainsFunc(list, func(m matcher) bool { return m(node) })
}

// String lists the patterns in order, for people. Filters with the same patterns have the
// same text.
func (f Filter) String() string {
	if len(f.Allow)+len(f.Deny) == 0 {
		return "none"
	}
	var parts []string
	for _, list := range []struct {
		word     string
		patterns []string
	}{{"allow", f.Allow}, {"deny", f.Deny}} {
		patterns := slices.Compact(slices.Sorted(slices.Values(list.patterns)))
		if len(patterns) > 0 {
			parts = append(parts, list.word+" "+strings.Join(patterns, " "))
		}
	}
	return strings.Join(parts, ", ")
}

// Denies reports whether the view has members, other than the node itself, and all of them
// deny a node. It is an entry node then, unless it is a member.
func (v *View) Denies(node string) bool {
	others := false
	for _, m := range v.Members {
		if m.Node == node {
			continue
		}
		if others = true; m.Filter.Compile()(node) {
			return false
		}
	}
	return others
}
