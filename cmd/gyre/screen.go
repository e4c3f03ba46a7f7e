package main

import (
	"bytes"
	"io"
	"os"
	"sync"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// screen is a terminal whose last line may be a bar. What is written to it are whole
// lines, and they go above the bar. Safe for concurrent use.
type screen struct {
	file *os.File

	mu  sync.Mutex // protects the field below, and is held while the terminal is written to
	bar []byte     // the line that is there now, with its end; nil without a bar
}

// screenOf is w and, if that is a terminal, a screen.
func screenOf(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && isTerminal(f) {
		return &screen{file: f}
	}
	return w
}

// Write is part of io.Writer.
func (s *screen) Write(p []byte) (int, error) { return s.above(s.file, p) }

// above writes lines to another file of the same terminal.
func (s *screen) above(w io.Writer, p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar == nil {
		return w.Write(p)
	}
	_, _ = s.file.WriteString(eraseBar) // what shows the lines shows their error
	n, err := w.Write(p)
	_, _ = s.file.Write(s.bar)
	return n, err
}

// eraseBar goes back to where the bar begins, from the line after it.
var eraseBar = text.CursorUp.Sprint() + text.EraseLine.Sprint()

// draw takes a bar, which erases the one before it.
func (s *screen) draw(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bar = bytes.TrimPrefix(bytes.Clone(p), []byte(eraseBar))
	return s.file.Write(p)
}

// clear takes the bar away.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_, _ = s.file.WriteString(eraseBar) // there is nobody to tell
		s.bar = nil
	}
}

// columns is how wide it is; 0 if that cannot be found out.
func (s *screen) columns() int {
	columns, _, err := term.GetSize(int(s.file.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// linesAbove writes to a file of a terminal, above the bar.
type linesAbove struct {
	screen *screen
	to     io.Writer
	rest   []byte // a line that has not ended
}

// Write is part of io.Writer.
func (l *linesAbove) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	end := bytes.LastIndexByte(l.rest, '\n') + 1
	if end == 0 {
		if len(l.rest) >= maxLinePart {
			l.flush()
		}
		return len(p), nil
	}
	_, err := l.screen.above(l.to, l.rest[:end])
	l.rest = append(l.rest[:0], l.rest[end:]...)
	return len(p), err
}

// flush ends the line.
func (l *linesAbove) flush() {
	if len(l.rest) > 0 {
		_, _ = l.screen.above(l.to, append(l.rest, '\n')) // there is nowhere to tell
		l.rest = nil
	}
}

// writerFunc is an io.Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
