package core

import (
	"strconv"
	"strings"
)

// MaxCursorBytes bounds the text form of a Cursor.
const MaxCursorBytes = 128

// Cursor is a place in a particular log. Its text form is opaque to clients
// and URL-safe.
type Cursor struct {
	Log      string // the name of the log's timeline in which the cursor was made
	Position uint64
}

// String is the text form.
func (c Cursor) String() string {
	return c.Log + "." + strconv.FormatUint(c.Position, 10)
}

// From is the place after c.
func (c Cursor) From() From { return From{Kind: AfterPosition, N: c.Position, Log: c.Log} }

// ParseCursor is the inverse of String; anything else is invalid_cursor.
func ParseCursor(s string) (Cursor, error) {
	log, digits, ok := strings.Cut(s, ".")
	n, err := strconv.ParseUint(digits, 10, 64)
	canonical := digits == strconv.FormatUint(n, 10)
	if !ok || err != nil || !canonical || n > MaxNumber || len(s) > MaxCursorBytes || !isLogID(log) {
		return Cursor{}, Errorf(CodeInvalidCursor, "%q is not a cursor", Clip(s))
	}
	return Cursor{Log: log, Position: n}, nil
}

func isLogID(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
