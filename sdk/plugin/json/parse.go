package json

import "strconv"

// MaxDepth is how deep Parse allows lists and objects to be nested. Gyre has the same limit.
const MaxDepth = 512

// SyntaxError says that a text is not JSON.
type SyntaxError struct {
	Offset int // of the byte that is wrong
	Reason string
}

func (e *SyntaxError) Error() string {
	return "invalid JSON at byte " + strconv.Itoa(e.Offset) + ": " + e.Reason
}

// Parse checks that a text is one JSON value, as encoding/json does, and returns it. The error is
// a *SyntaxError. The text must not change afterwards.
func Parse(text []byte) (Value, error) {
	s := scanner{text: text}
	s.at = space(text, 0)
	start := s.at
	if s.value(); s.reason == "" {
		for s.isSpace() {
			s.at++
		}
		if s.at < len(text) {
			s.fail("more than one value")
		}
	}
	for _, c := range text[:start] {
		if !isSpace(c) {
			return Value{}, &SyntaxError{0, "a control character"}
		}
	}
	if s.reason != "" {
		return Value{}, &SyntaxError{s.at, s.reason}
	}
	return Value{text[start:]}, nil
}

// scanner checks a text. After an error it stays where it is.
type scanner struct {
	text   []byte
	at     int
	depth  int
	reason string // of the error, if any
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func (s *scanner) isSpace() bool { return s.at < len(s.text) && isSpace(s.text[s.at]) }

func (s *scanner) fail(reason string) {
	if s.reason == "" {
		s.reason = reason
	}
}

// peek skips spaces, and returns the next byte, or 0 at the end or after an error.
func (s *scanner) peek() byte {
	for s.isSpace() {
		s.at++
	}
	if s.reason != "" || s.at >= len(s.text) {
		return 0
	}
	return s.text[s.at]
}

func (s *scanner) value() {
	switch c := s.peek(); {
	case c == '{':
		s.container('}')
	case c == '[':
		s.container(']')
	case c == '"':
		s.string()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	case c == '-' || c-'0' <= 9:
		s.number()
	default:
		s.fail("a value is missing")
	}
}

// container checks an object or an array, up to its end.
func (s *scanner) container(end byte) {
	if s.depth++; s.depth > MaxDepth {
		s.fail("nested too deep")
		return
	}
	s.at++
	if s.peek() == end {
		s.at++
		s.depth--
		return
	}
	for s.reason == "" {
		if end == '}' {
			s.name()
		}
		s.value()
		switch s.peek() {
		case ',':
			s.at++
		case end:
			s.at++
			s.depth--
			return
		default:
			s.fail("a comma or an end is missing")
		}
	}
}

func (s *scanner) name() {
	if s.peek() != '"' {
		s.fail("the name of a member is missing")
		return
	}
	s.string()
	if s.peek() != ':' {
		s.fail("a colon is missing")
		return
	}
	s.at++
}

func (s *scanner) literal(word string) {
	for i := range len(word) {
		if s.at >= len(s.text) || s.text[s.at] != word[i] {
			s.fail("a value is missing")
			return
		}
		s.at++
	}
}

func (s *scanner) string() {
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return
		case c < ' ':
			s.fail("a control character in a string")
			return
		case c == '\\':
			if !s.escape() {
				s.fail("an escape that does not exist")
				return
			}
		}
	}
	s.fail("a string without an end")
}

// escape checks an escape, and goes to its last byte.
func (s *scanner) escape() bool {
	if s.at+1 >= len(s.text) {
		return false
	}
	switch s.text[s.at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return true
	}
	if hex4(s.text[s.at:]) < 0 {
		return false
	}
	s.at += 5
	return true
}

func (s *scanner) number() {
	if s.text[s.at] == '-' {
		s.at++
	}
	if s.at < len(s.text) && s.text[s.at] == '0' {
		s.at++
	} else if !s.digits() {
		return
	}
	if s.at < len(s.text) && s.text[s.at] == '.' {
		if s.at++; !s.digits() {
			return
		}
	}
	if s.at < len(s.text) && s.text[s.at]|0x20 == 'e' {
		if s.at++; s.at < len(s.text) && (s.text[s.at] == '+' || s.text[s.at] == '-') {
			s.at++
		}
		s.digits()
	}
}

// digits skips digits, and fails if there are none.
func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.text) && s.text[s.at]-'0' <= 9 {
		s.at++
	}
	if s.at == start {
		s.fail("a digit is missing")
	}
	return s.at > start
}
