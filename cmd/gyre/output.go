package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/pflag"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// outputFormat is the value of -o.
type outputFormat string

// The formats. The empty one stands for the command's own default.
const (
	asTable  outputFormat = "table"
	asJSON   outputFormat = "json"
	asNDJSON outputFormat = "ndjson"
)

// Set is part of pflag.Value.
func (f *outputFormat) Set(s string) error {
	v := outputFormat(s)
	if !slices.Contains([]outputFormat{asTable, asJSON, asNDJSON}, v) {
		return fmt.Errorf("%q is none of table, json, ndjson", s)
	}
	*f = v
	return nil
}

// String is part of pflag.Value.
func (f *outputFormat) String() string { return string(*f) }

// Type is part of pflag.Value.
func (f *outputFormat) Type() string { return "table|json|ndjson" }

// outputOf returns the -o among args, even if other arguments are wrong.
func outputOf(args []string) outputFormat {
	var f outputFormat
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	flags.VarP(&f, "output", "o", "")
	_ = flags.Parse(args) // the command reports what is wrong
	return f
}

// list prints items that come in parts: rows of a table, one JSON array, or an object a
// line.
type list[T any] struct {
	app    *app
	header []string
	row    func(T) []string

	printed int
	widths  []int // of the table's columns so far
}

// printList prints items that are all there.
func printList[T any](a *app, items []T, header []string, row func(T) []string) error {
	l := list[T]{app: a, header: header, row: row}
	if err := l.print(items); err != nil {
		return err
	}
	return l.close()
}

// asker asks for the next page of at most so many items. end says that no more follow.
type asker[T any] func(ctx context.Context, most int) (items []T, end bool, err error)

// eachPage asks for one page after another, each within the timeout of one request, up to limit
// items if that is not 0. more says that the limit has left some out.
func eachPage[T any](ctx context.Context, a *app, limit int, ask asker[T], do func([]T) error) (more bool, err error) {
	for asked := 0; ; {
		most := core.MaxReadEvents
		if limit > 0 {
			most = min(limit-asked, most)
		}
		items, end, err := func() ([]T, bool, error) {
			ctx, cancel := a.request(ctx)
			defer cancel()
			return ask(ctx, most)
		}()
		if err == nil && (end || len(items) > 0) {
			err = do(items)
		}
		if err != nil || end {
			return false, err
		}
		if asked += len(items); limit > 0 && asked >= limit {
			return true, nil
		}
	}
}

// printAll prints page after page, up to limit items if that is not 0, and ends the list.
func (l *list[T]) printAll(ctx context.Context, limit int, ask asker[T]) error {
	more, err := eachPage(ctx, l.app, limit, ask, l.print)
	if err != nil {
		return err
	}
	if more {
		fmt.Fprintln(l.app.stderr, "There are more: raise --limit.")
	}
	return l.close()
}

// print prints the next items.
func (l *list[T]) print(items []T) error {
	if l.app.output != asJSON && l.app.output != asNDJSON {
		return l.printRows(items)
	}
	out := bufio.NewWriter(l.app.stdout)
	for i := range items {
		text, err := l.encode(items[i])
		if err != nil {
			return err
		}
		l.printed++
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	return out.Flush()
}

// encode returns an item in its format, with its separator.
func (l *list[T]) encode(item T) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if l.app.output == asNDJSON {
		err := enc.Encode(item)
		return text.Bytes(), err
	}
	text.WriteString(",\n  ")
	if l.printed == 0 {
		text.Reset()
		text.WriteString("[\n  ")
	}
	enc.SetIndent("  ", "  ")
	err := enc.Encode(item)
	return bytes.TrimRight(text.Bytes(), "\n"), err
}

func (l *list[T]) printRows(items []T) error {
	rows := make([][]string, len(items))
	for i := range items {
		rows[i] = l.row(items[i])
	}
	header := l.header
	if l.printed > 0 {
		header = nil
	}
	// The next part's columns are at least as wide: most often they are in line.
	l.widths = columnWidths(l.widths, header, rows)
	if len(rows) == 0 && l.printed > 0 {
		return nil
	}
	l.printed += len(rows)
	return printTable(l.app.stdout, header, rows, l.widths)
}

// close prints what ends the list.
func (l *list[T]) close() error {
	end := ""
	switch {
	case l.app.output == asJSON && l.printed == 0:
		end = "[]\n"
	case l.app.output == asJSON:
		end = "\n]\n"
	}
	_, err := io.WriteString(l.app.stdout, end)
	return err
}

// printOne prints one object: as JSON, or as the line or lines that words makes.
func printOne[T any](a *app, v T, words func(T) string) error {
	switch a.output {
	case asJSON:
		return printJSON(a.stdout, v)
	case asNDJSON:
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	_, err := io.WriteString(a.stdout, words(v)+"\n")
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable prints columns without lines: easy to read, and to cut. They have at
// least these widths; a nil header is left out.
func printTable(w io.Writer, header []string, rows [][]string, widths []int) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	var columns []table.ColumnConfig
	for i, width := range widths {
		columns = append(columns, table.ColumnConfig{Number: i + 1, WidthMin: width})
	}
	t.SetColumnConfigs(columns)
	if header != nil {
		t.AppendHeader(tableRow(header))
	}
	for _, r := range rows {
		t.AppendRow(tableRow(r))
	}
	out := bufio.NewWriter(w)
	// A value's own line breaks were taken out by cell: every row is one line.
	if _, err := out.WriteString(t.Render() + "\n"); err != nil {
		return err
	}
	return out.Flush()
}

// columnWidths are the widths of a table with these rows, at least those it has.
func columnWidths(widths []int, header []string, rows [][]string) []int {
	for _, r := range append(rows[:len(rows):len(rows)], header) {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(c))
		}
	}
	return widths
}

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = c
	}
	return row
}

// cell makes a value fit for a row: one line without control characters, at
// most max characters.
func cell(s string, max int) string { return text.Snip(visible(s), max, "…") }

// printBytes prints what somebody else has made. A program gets it as it is, with the end of a line
// behind JSON; a terminal gets lines that do nothing to it.
func (a *app) printBytes(b []byte) error {
	if isTerminal(a.stdout) {
		a.printText(string(b))
		return nil
	}
	if plugins.IsJSON(b) {
		b = append(bytes.Clone(b), '\n')
	}
	_, err := a.stdout.Write(b)
	return err
}

// visible is s as a terminal may get it: control characters are spaces, and those that
// turn the direction of what follows are escaped, for they could make a line look like
// another. Bytes that are no UTF-8 are replaced: to some terminals they are control characters.
func visible(s string) string {
	s = strings.ToValidUTF8(s, string(unicode.ReplacementChar))
	dangerous := func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }
	if strings.IndexFunc(s, dangerous) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case unicode.IsControl(r):
			b.WriteByte(' ')
		case dangerous(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// comma writes a number with thousands separated.
func comma[N int | int64 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// howMany words a number of things, such as 1 event and 1,200 events.
func howMany[N int | int64 | uint64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return comma(n) + " " + many
}

// rate writes events per second the short way: 940/s, 51k/s, 1.2M/s.
func rate(events int64, d time.Duration) string {
	perSecond := float64(events) / max(d.Seconds(), 0.001)
	switch {
	case perSecond >= 999_500:
		return fmt.Sprintf("%.1fM/s", perSecond/1e6)
	case perSecond >= 9_950:
		return fmt.Sprintf("%.0fk/s", perSecond/1e3)
	case perSecond >= 1000:
		return fmt.Sprintf("%.1fk/s", perSecond/1e3)
	}
	return fmt.Sprintf("%.0f/s", perSecond)
}

// clock writes a duration as minutes and seconds.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
