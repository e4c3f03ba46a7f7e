package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const appendHelp = `Append an event to the end of a stream, or several as one: all of them or none.

DATA is JSON, - for stdin, or @FILE; the default is {}. --bytes appends DATA as bytes. --file
appends the events of a file together, one JSON object a line ("type", "data", and optionally
"id", "time", "metadata").

--expect says which version the stream must be at: a number (0 = no events yet), no_stream,
stream_exists, or any. If it is at another, nothing is written and the exit code is 4.

--progress NAME moves a worker's place in the log in the same commit (gyre progress --help): from
--from, which must be the stored position, to --to. If another is stored, nothing is written.

The command can be repeated safely with the same --id: it writes once.`

// appendFlags are the flags of gyre append.
type appendFlags struct {
	expect      string
	id          string
	metadata    []string
	bytes       bool
	contentType string
	file        string
	move        moveFlags
}

func newAppend(a *app) *cobra.Command {
	var f appendFlags
	cmd := &cobra.Command{
		Use:   "append STREAM TYPE [DATA]",
		Short: "Append events to a stream",
		Long:  appendHelp,
		Example: `  gyre append order-1 OrderPlaced '{"total":10}' --expect 0
  gyre append order-1 InvoiceSent --bytes --content-type application/pdf @invoice.pdf
  gyre append order-1 --file events.ndjson`,
		Args: takes(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.appendCommit(f, args)
			if err != nil {
				return err
			}
			if c.Progress, err = f.move.progress(cmd); err != nil {
				return err
			}
			return a.append(cmd.Context(), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.expect, "expect", "any", "version the stream must be at: N, any, no_stream or stream_exists")
	flags.StringVar(&f.id, "id", "", "the event's id, a UUID (default a new one)")
	flags.StringArrayVarP(&f.metadata, "metadata", "m", nil, "key=value in the metadata (repeat)")
	flags.BoolVar(&f.bytes, "bytes", false, "DATA is bytes, not JSON")
	flags.StringVar(&f.contentType, "content-type", "", "media type of the bytes (default application/octet-stream)")
	flags.StringVar(&f.file, "file", "", "file of events, one JSON object a line; - for stdin")
	f.move.add(cmd)
	return a.completeStream(a.talks(cmd))
}

// appended is the printed result of an append.
type appended struct {
	Stream    string `json:"stream"`
	Version   uint64 `json:"version"`
	Position  uint64 `json:"position"`
	Count     int    `json:"count"`
	Duplicate bool   `json:"duplicate,omitempty"`
	Node      string `json:"node"` // the stream's owner, or the only node
}

func (a *app) append(ctx context.Context, c core.Commit) error {
	// What the node would refuse for its form is refused before it is asked.
	if err := c.Validate(); err != nil {
		return err
	}
	var result core.Result
	err := a.withClient(ctx, func(client *sdk.Client) (err error) {
		result, err = a.appendOnce(ctx, client, c)
		return err
	})
	if events := c.Appends[0].Events; errors.Is(err, core.CodeUnknownOutcome) && len(events) == 1 {
		return &advised{err, fmt.Sprintf("Repeat the command with --id %s: it is written once.", events[0].ID)}
	}
	if err != nil {
		return err
	}
	w := result.Appends[0]
	done := appended{c.Appends[0].Stream, w.LastVersion, w.LastPosition, w.Count(), result.Duplicate, result.Node}
	return printOne(a, done, func(d appended) string {
		if d.Duplicate {
			return fmt.Sprintf("already there: %s is at version %d with it, position %d", visible(d.Stream), d.Version, d.Position)
		}
		return fmt.Sprintf("appended %d to %s: version %d, position %d", d.Count, visible(d.Stream), d.Version, d.Position)
	})
}

// appendCommit makes the Commit of the command line.
func (a *app) appendCommit(f appendFlags, args []string) (core.Commit, error) {
	x, err := core.ParseExpect(f.expect)
	if err != nil {
		return core.Commit{}, err
	}
	var events []core.NewEvent
	switch {
	case f.file != "" && len(args) > 1:
		return core.Commit{}, usagef("gyre append --help").because("--file has the types and the data; give the stream only")
	case f.file != "":
		events, err = a.eventsOfFile(f.file)
	case len(args) < 2:
		return core.Commit{}, usagef("gyre append %s TYPE [DATA]", shellQuote(args[0])).because("an event needs a type")
	default:
		var event core.NewEvent
		event, err = a.eventOf(f, args[1:])
		events = []core.NewEvent{event}
	}
	if err != nil {
		return core.Commit{}, err
	}
	return core.Commit{Appends: []core.Append{{Stream: args[0], Expect: x, Events: events}}}, nil
}

// eventOf makes the event of the arguments TYPE [DATA].
func (a *app) eventOf(f appendFlags, args []string) (core.NewEvent, error) {
	e := core.NewEvent{ID: core.NewID(), Type: args[0], Data: []byte("{}")}
	var err error
	if f.id != "" {
		if e.ID, err = core.ParseID(f.id); err != nil {
			return e, err
		}
	}
	if e.Metadata, err = metadataOf(f.metadata); err != nil {
		return e, err
	}
	if len(args) > 1 {
		if e.Data, err = a.dataOf(args[1]); err != nil {
			return e, err
		}
	}
	if f.bytes {
		e.Format, e.ContentType = core.Bytes, f.contentType
		if len(args) < 2 {
			e.Data = nil
		}
		if e.ContentType == "" {
			e.ContentType = "application/octet-stream"
		}
		return e, nil
	}
	if f.contentType != "" {
		return e, usagef("add --bytes").because("--content-type is for data that is not JSON")
	}
	// One value in one line, with its numbers as they were written.
	var line bytes.Buffer
	if err := json.Compact(&line, e.Data); err != nil {
		return e, core.Errorf(core.CodeInvalidData, "%q is not JSON: %v", cell(string(e.Data), 40), err)
	}
	e.Data = line.Bytes()
	return e, nil
}

// dataOf is the argument itself, or what it points to.
func (a *app) dataOf(arg string) ([]byte, error) {
	var from io.Reader
	switch {
	case arg == "-":
		from = a.stdin
	case strings.HasPrefix(arg, "@"):
		file, err := os.Open(arg[1:])
		if err != nil {
			return nil, usagef("check the path").because("%v", err)
		}
		defer func() { _ = file.Close() }()
		from = file
	default:
		return []byte(arg), nil
	}
	data, err := io.ReadAll(io.LimitReader(from, core.MaxEventBytes+1))
	if err == nil && len(data) > core.MaxEventBytes {
		err = core.Errorf(core.CodeEventTooLarge, "the data is larger than %d bytes", core.MaxEventBytes)
	}
	return data, err
}

// metadataOf makes an object of key=value pairs.
func metadataOf(pairs []string) ([]byte, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	object := make(map[string]string, len(pairs))
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok || key == "" {
			return nil, usagef("-m correlation_id=order-1").because("metadata %q is not key=value", p)
		}
		object[key] = value
	}
	return json.Marshal(object)
}

// eventsOfFile reads the events of --file.
func (a *app) eventsOfFile(name string) ([]core.NewEvent, error) {
	in, err := a.openLines(name)
	if err != nil {
		return nil, err
	}
	defer in.close()
	var events []core.NewEvent
	for in.next() {
		e, err := decodeAppend(in.line)
		if err != nil {
			return nil, in.at(err)
		}
		if e.ID.IsZero() {
			e.ID = core.NewID()
		}
		if len(events) == core.MaxCommitEvents {
			return nil, core.Errorf(core.CodeCommitTooLarge, "%s has more than %d events", in.name, core.MaxCommitEvents)
		}
		events = append(events, e)
	}
	return events, in.err
}
