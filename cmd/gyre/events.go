package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Widths of what a person sees of an event; the other formats have all of it.
const (
	streamWidth = 48
	typeWidth   = 32
	dataWidth   = 72
)

// eventPrinter prints events one after another.
type eventPrinter interface {
	print(e *core.Event) error
	// close prints what is left.
	close() error
}

// newEventPrinter prints to stdout in the wanted format.
func (a *app) newEventPrinter(stream string) eventPrinter {
	out := bufio.NewWriterSize(a.stdout, 64<<10)
	switch a.output {
	case asJSON:
		return &eventArray{out: out}
	case asNDJSON:
		return &eventLines{out: out, encode: wire.AppendEventJSON}
	}
	return &eventTable{out: a.stdout, all: stream == core.All}
}

// eventLines prints an object a line.
type eventLines struct {
	out    *bufio.Writer
	encode func(dst []byte, e *core.Event) []byte
	buf    []byte
}

func (p *eventLines) print(e *core.Event) error {
	p.buf = append(p.encode(p.buf[:0], e), '\n')
	_, err := p.out.Write(p.buf)
	return err
}

func (p *eventLines) close() error { return p.out.Flush() }

// eventArray prints one JSON array, an event a line.
type eventArray struct {
	out *bufio.Writer
	buf []byte
	n   int
}

func (p *eventArray) print(e *core.Event) error {
	p.buf = append(p.buf[:0], ",\n  "...)
	if p.n == 0 {
		p.buf = append(p.buf[:0], "[\n  "...)
	}
	p.n++
	p.buf = wire.AppendEventJSON(p.buf, e)
	_, err := p.out.Write(p.buf)
	return err
}

func (p *eventArray) close() error {
	end := "\n]\n"
	if p.n == 0 {
		end = "[]\n"
	}
	if _, err := p.out.WriteString(end); err != nil {
		return err
	}
	return p.out.Flush()
}

// eventTable prints a row for each event, when it has seen all of them.
type eventTable struct {
	out  io.Writer
	all  bool // of all streams
	rows [][]string
}

func (p *eventTable) print(e *core.Event) error {
	version, position := strconv.FormatUint(e.Version, 10), strconv.FormatUint(e.Position, 10)
	at := wire.FormatTime(e.Time)
	row := []string{version, position, at, cell(e.Type, typeWidth), dataCell(e)}
	if p.all {
		row = []string{position, cell(e.Stream, streamWidth), version, at, cell(e.Type, typeWidth), dataCell(e)}
	}
	p.rows = append(p.rows, row)
	return nil
}

func (p *eventTable) close() error {
	header := []string{"version", "position", "time", "type", "data"}
	if p.all {
		header = []string{"position", "stream", "version", "time", "type", "data"}
	}
	return printTable(p.out, header, p.rows, nil)
}

// dataCell is what a row shows of an event's data.
func dataCell(e *core.Event) string {
	if e.Format == core.JSON {
		return cell(string(e.Data[:min(len(e.Data), 4*dataWidth)]), dataWidth)
	}
	return cell(fmt.Sprintf("(%s bytes, %s)", comma(len(e.Data)), e.ContentType), dataWidth)
}

// tailLine is one event as gyre tail shows it to a person.
func tailLine(dst []byte, e *core.Event) []byte {
	return fmt.Appendf(dst, "%d  %s  %s@%d  %s  %s", e.Position, wire.FormatTime(e.Time),
		cell(e.Stream, streamWidth), e.Version, cell(e.Type, typeWidth), dataCell(e))
}
