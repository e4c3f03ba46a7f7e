package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// maxLineBytes bounds a line. An event has at most 1 MiB; written as escapes in JSON
// that can be six times as long.
const maxLineBytes = 8 << 20

// lineReader reads a file of JSON lines, compressed with gzip or not.
type lineReader struct {
	name   string
	line   []byte // the current one, until the next call of next
	number int    // of line, from 1
	err    error  // why next is false; nil at the end

	size    int64 // of the file as it is stored; 0 if it is not known
	read    int64 // of it so far
	scanner *bufio.Scanner
	file    io.Closer
}

// openLines opens a file, or stdin for "-".
func (a *app) openLines(name string) (*lineReader, error) {
	r := &lineReader{name: name}
	var from io.Reader = a.stdin
	if name == "-" {
		r.name = "stdin"
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, usagef("check the path").because("%v", err)
		}
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			r.size = info.Size()
		}
		from, r.file = file, file
	}
	in := bufio.NewReaderSize(&counted{from, &r.read}, 64<<10)
	text, err := uncompressed(in)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("read %s: %w", r.name, err)
	}
	r.scanner = bufio.NewScanner(text)
	r.scanner.Buffer(make([]byte, 64<<10), maxLineBytes)
	return r, nil
}

// uncompressed is what in has, which may be compressed with gzip: its first two
// bytes say so. Less than two bytes are not.
func uncompressed(in *bufio.Reader) (io.Reader, error) {
	magic, err := in.Peek(2)
	switch {
	case bytes.Equal(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	return in, nil
}

// next goes to the next line that is not empty.
func (r *lineReader) next() bool {
	for r.scanner.Scan() {
		r.number++
		r.line = bytes.TrimSpace(r.scanner.Bytes())
		if len(r.line) > 0 {
			return true
		}
	}
	switch err := r.scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		r.number++
		r.err = r.at(core.Errorf(core.CodeEventTooLarge, "the line is longer than %d bytes", maxLineBytes))
	case err != nil:
		r.err = fmt.Errorf("read %s after line %d: %w", r.name, r.number, err)
	}
	return false
}

// at adds the place of the current line to err.
func (r *lineReader) at(err error) error { return &lineError{r.name, r.number, err} }

// close closes the file. It was only read: nothing is lost if that fails.
func (r *lineReader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}

// lineError is an error about a line of a file.
type lineError struct {
	file string
	line int
	err  error
}

func (e *lineError) where() string { return fmt.Sprintf("%s:%d", e.file, e.line) }
func (e *lineError) Error() string { return e.where() + ": " + e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// counted counts the bytes that are read through it.
type counted struct {
	io.Reader
	n *int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

// importLine is a line of an import: an event to append or to link, with its stream. The
// other fields of an export or a read are ignored.
type importLine struct {
	Stream     string `json:"stream"`
	wire.Event `json:",inline"`

	Version  jsontext.Value `json:"version"`
	Position jsontext.Value `json:"position"`
	Recorded jsontext.Value `json:"recorded"`
	Link     *wire.Link     `json:"link"`
}

// decodeImport decodes a line of an import.
func decodeImport(line []byte) (entry, error) {
	var l importLine
	if err := decodeLine(line, &l); err != nil {
		return entry{}, err
	}
	if err := core.ValidateStream(l.Stream); err != nil {
		return entry{}, err
	}
	if l.Link != nil { // what else the line says is the event's
		return entry{stream: l.Stream, event: core.NewEvent{ID: core.ID(l.ID)}, isLink: true}, nil
	}
	event, err := l.NewEvent()
	return entry{stream: l.Stream, event: event}, err
}

// decodeAppend decodes a line of append --file.
func decodeAppend(line []byte) (core.NewEvent, error) {
	var e wire.Event
	if err := decodeLine(line, &e); err != nil {
		return core.NewEvent{}, err
	}
	return e.NewEvent()
}

// kindOf names a kind of JSON value.
func kindOf(kind jsontext.Kind) string {
	switch kind {
	case '[':
		return "an array"
	case '{':
		return "an object"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}

// decodeLine decodes one JSON object. A member that has no meaning is an error: it
// is most likely a typing mistake, and would be lost.
func decodeLine(line []byte, v any) error {
	err := json.Unmarshal(line, v, json.RejectUnknownMembers(true))
	var coded *core.Error
	var semantic *json.SemanticError
	switch {
	case err == nil || errors.As(err, &coded):
		if coded != nil {
			return coded
		}
		return nil
	case errors.Is(err, json.ErrUnknownName):
		errors.As(err, &semantic)
		return core.Errorf(core.CodeInvalidRequest, "an event has no member %q", semantic.JSONPointer.LastToken())
	case errors.As(err, &semantic) && semantic.JSONPointer == "":
		err := core.Errorf(core.CodeInvalidRequest, "the line is %s, not one JSON object", kindOf(semantic.JSONKind))
		if semantic.JSONKind == '[' {
			return &advised{err, "Write the array one object a line: jq -c '.[]' FILE"}
		}
		return err
	case errors.As(err, &semantic):
		return core.Errorf(core.CodeInvalidRequest, "%s is %s, which an event does not have there", semantic.JSONPointer, kindOf(semantic.JSONKind))
	}
	return core.Errorf(core.CodeInvalidRequest, "not one JSON object: %v", err)
}
