package main

import (
	"fmt"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// changePatterns makes --stream of a validator one of --streams.
func (d *deployment) changePatterns(input *plugins.Input) {
	if !d.changed("stream") {
		return
	}
	if !d.changed("streams") {
		input.Filter.Streams = nil
	}
	input.Filter.Streams = append(input.Filter.Streams, d.input.stream)
	input.Stream = ""
}

// printValidator prints a validator after a deploy, and on a terminal what to try next.
func (a *app) printValidator(s plugins.Status) error {
	err := printOne(a, s, func(s plugins.Status) string { return validatorChanged("deployed ", &s) })
	name := shellQuote(s.Name)
	if s.State == plugins.Running {
		fmt.Fprintln(a.stderr, "It is in force at this node; at the other nodes of a ring within about a second.")
	}
	fmt.Fprintf(a.stderr, "Try: %[1]s plugin info %[2]s, %[1]s plugin logs %[2]s -f, or %[1]s plugin pause %[2]s\n", a.program, name)
	return err
}

// validatorChanged words a validator after a change, in one line.
func validatorChanged(how string, s *plugins.Status) string {
	return fmt.Sprintf("%svalidator %s %s: %s, for %s", how, cell(s.Name, maxNameCell), cell(s.Version, maxNameCell), stateWords(s), patternWords(&s.Input))
}

// patternWords words the events that a validator judges.
func patternWords(i *plugins.Input) string {
	text := "streams " + listWords(i.Filter.Streams)
	if len(i.Filter.Types) > 0 {
		text += ", types " + listWords(i.Filter.Types)
	}
	return text
}

// validatorWords words a validator, for info.
func validatorWords(s plugins.Status) string {
	var b rows
	row := b.row
	row("validator", "%s", cell(s.Name, maxNameCell))
	row("plugin", "%s %s", cell(s.Plugin, maxNameCell), cell(s.Version, maxNameCell))
	row("sha256", "%s", s.SHA256)
	row("state", "%s", stateWords(&s))
	row("judges", "%s", patternWords(&s.Input))
	row("time", "%d ms for an append", s.Limits.TimeMs)
	row("if it fails", "%s", s.OnError.Then)
	if len(s.Config) > 0 {
		row("config", "%s", cell(string(s.Config), dataWidth))
	}
	t := &s.Totals
	each := time.Duration(0)
	if t.Batches > 0 {
		each = time.Duration(t.Seconds / float64(t.Batches) * float64(time.Second)).Round(100 * time.Nanosecond)
	}
	row("judged", "%s appends, %s each", comma(int64(t.Batches)), each)
	row("refused", "%s", comma(int64(t.Refused)))
	row("failed", "%s", comma(int64(t.Failures)))
	row("", "these count at the node that answered, since it has started; the others of a ring count theirs")
	row("deployed", "%s", wire.FormatTime(s.Deployed))
	return b.words()
}
