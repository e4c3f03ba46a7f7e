package core

import "strings"

// Filter selects events; a link is selected as the event that it names. An event matches
// if its stream matches one of Streams and its type one of Types. An empty list matches
// everything. A pattern matches the whole text, and '*' stands for any run of characters.
type Filter struct {
	Streams []string
	Types   []string
	// Within are patterns of the streams that the reader may read: what matches none of them,
	// and every stream of the system, is passed over, whatever else f says. nil lets the
	// reader read everything. It is the server's, and no part of what a client sends.
	Within []string
}

// IsZero reports whether f matches everything.
func (f *Filter) IsZero() bool {
	return len(f.Streams) == 0 && len(f.Types) == 0 && f.Within == nil
}

// Match reports whether an event of that stream and type matches. Of a link, stream
// is the one that the event is in.
func (f *Filter) Match(stream, typ string) bool {
	return f.reads(stream) && f.matches(stream, typ)
}

// matches is Match for an event that the reader may read.
func (f *Filter) matches(stream, typ string) bool {
	return matchAny(f.Streams, stream) && matchAny(f.Types, typ)
}

// reads reports whether the reader may read a stream.
func (f *Filter) reads(stream string) bool {
	return f.Within == nil || !IsSystem(stream) && MatchAny(f.Within, stream)
}

// Validate checks f, which comes from a client.
func (f *Filter) Validate() error {
	for _, list := range [][]string{f.Streams, f.Types} {
		if len(list) > MaxFilterPatterns {
			return Errorf(CodeInvalidFilter, "%d patterns, the limit is %d", len(list), MaxFilterPatterns)
		}
		for _, p := range list {
			if p == "" || len(p) > MaxStreamNameBytes || !printable(p) {
				return Errorf(CodeInvalidFilter, "%q is not a pattern", Clip(p))
			}
		}
	}
	return nil
}

// key is equal for filters that are written the same. The tail evaluates those
// together.
func (f *Filter) key() string {
	key := strings.Join(f.Streams, "\x00") + "\x01" + strings.Join(f.Types, "\x00")
	if f.Within != nil {
		key += "\x01" + strings.Join(f.Within, "\x00")
	}
	return key
}

func matchAny(patterns []string, s string) bool {
	return len(patterns) == 0 || MatchAny(patterns, s)
}

// MatchAny reports whether s matches one of the patterns, which are as those of a Filter.
func MatchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if matchGlob(p, s) {
			return true
		}
	}
	return false
}

// matchGlob never backtracks past the last '*', so each costs at most one pass over s.
func matchGlob(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
