package access

import (
	"slices"

	"github.com/gyre-events/gyre/core"
)

// MaxPatterns bounds the patterns of a principal.
const MaxPatterns = core.MaxFilterPatterns

// examples are good patterns, for messages.
var examples = map[Target]string{Stream: "order-* or $all", Name: "mail-*"}

// ValidatePatterns checks the patterns of a key, of streams or of names. $all is every stream;
// other streams of the system cannot be granted. The error is invalid_key.
func ValidatePatterns(of Target, patterns []string) error {
	if len(patterns) > MaxPatterns {
		return core.Errorf(core.CodeInvalidKey, "%d patterns of %ss, the limit is %d", len(patterns), of, MaxPatterns)
	}
	for _, p := range patterns {
		if p == core.All {
			continue
		}
		filter := core.Filter{Streams: []string{p}}
		if filter.Validate() != nil || isSystem(p) {
			return core.Errorf(core.CodeInvalidKey, "%.80q is not a pattern of %ss, such as %s", p, of, examples[of])
		}
	}
	return nil
}

// isSystem reports whether a stream is one of the system. Only admins may read those.
func isSystem(stream string) bool { return core.IsSystem(stream) && stream != core.All }

// isEvery reports whether patterns match every stream.
func isEvery(patterns []string) bool {
	return slices.Contains(patterns, "*") || slices.Contains(patterns, core.All)
}

// covers reports whether everything that a pattern matches is matched by one of patterns. A
// '*' in it is taken for a character that only a '*' matches, so that it may say no of a
// pattern that two others cover together, and never yes of one that is not covered.
func covers(patterns []string, pattern string) bool {
	if isSystem(pattern) {
		return false
	}
	if isEvery(patterns) {
		return true
	}
	return len(patterns) > 0 && core.MatchAny(patterns, pattern)
}
