package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/pflag"
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

// outputOf is the -o among args, wherever it stands and whatever is wrong with the rest.
func outputOf(args []string) outputFormat {
	var f outputFormat
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	flags.VarP(&f, "output", "o", "")
	_ = flags.Parse(args) // the command has told what is wrong
	return f
}

// printList prints items: rows of a table, one JSON array, or an object a line.
func printList[T any](a *app, items []T, header []string, row func(T) []string) error {
	switch a.output {
	case asJSON:
		if items == nil {
			items = []T{}
		}
		return printJSON(a.stdout, items)
	case asNDJSON:
		enc := json.NewEncoder(a.stdout)
		enc.SetEscapeHTML(false)
		for i := range items {
			if err := enc.Encode(items[i]); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(items))
	for i := range items {
		rows[i] = row(items[i])
	}
	return printTable(a.stdout, header, rows)
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

// printTable prints columns without lines: easy to read, and to cut.
func printTable(w io.Writer, header []string, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatUpper
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(tableRow(header))
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

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = c
	}
	return row
}

// cell makes a value fit for a row: one line without control characters, at
// most max characters.
func cell(s string, max int) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	return text.Snip(clean, max, "…")
}

// comma writes a number with thousands separated.
func comma[N int | int64 | uint64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
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
