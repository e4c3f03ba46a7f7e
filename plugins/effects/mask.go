package effects

import (
	"bytes"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/plugins/abi"
)

const (
	// masked stands for a secret where it is said.
	masked = "•••"
	// leastMasked is how long a piece of a secret is that is masked: a line of it, or its begin
	// where a line of a log was cut.
	leastMasked = 8
	// maxPieces bounds the pieces that are looked for. The oldest are forgotten.
	maxPieces = 1024
)

// mask takes secrets out of what a handler says.
type mask struct{ pieces []string }

// add has a secret masked. One of several lines is masked line by line, as it is logged.
func (m *mask) add(secret string) {
	for piece := range strings.Lines(secret) {
		piece = strings.TrimRight(piece, "\r\n")
		if len(piece) < leastMasked || slices.Contains(m.pieces, piece) {
			continue
		}
		if len(m.pieces) == maxPieces {
			m.pieces = slices.Delete(m.pieces, 0, 1)
		}
		m.pieces = append(m.pieces, piece)
	}
}

// text is a text without the secrets.
func (m *mask) text(s string) string {
	for _, piece := range m.pieces {
		s = strings.ReplaceAll(s, piece, masked)
	}
	return s
}

// line is a line of a log, which may have been cut, without the secrets.
func (m *mask) line(line []byte) []byte {
	cut := len(line) > abi.MaxLineBytes-leastMasked
	for _, piece := range m.pieces {
		if bytes.Contains(line, []byte(piece)) {
			line = bytes.ReplaceAll(line, []byte(piece), []byte(masked))
		}
		for n := min(len(piece)-1, len(line)); cut && n >= leastMasked; n-- {
			if bytes.HasSuffix(line, []byte(piece[:n])) {
				line = append(slices.Clone(line[:len(line)-n]), masked...)
				break
			}
		}
	}
	return line[:min(len(line), abi.MaxLineBytes)]
}

// failure is a failure whose texts have no secrets.
func (m *mask) failure(f *Failure) *Failure {
	if f != nil && len(m.pieces) > 0 {
		g := *f
		g.Reason, g.Stack = m.text(f.Reason), m.text(f.Stack)
		f = &g
	}
	return f
}
