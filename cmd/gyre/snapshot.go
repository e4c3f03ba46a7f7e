package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const snapshotHelp = `A snapshot is the state that a client has made of a stream's events, up to a version. Whoever
loads the state reads the snapshot and the events after it:

  gyre read order-1 --snapshot default

A stream has one snapshot of each kind; a newer one replaces it, and an older one does not.`

func newSnapshot(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "snapshot",
		Short: "Record, show, list and delete snapshots of streams",
		Long:  snapshotHelp,
	})
	cmd.AddCommand(newSnapshotPut(a), newSnapshotGet(a), newSnapshotLs(a), newSnapshotRm(a))
	return cmd
}

// kindFlag adds the flag that says which snapshot of a stream is meant.
func kindFlag(cmd *cobra.Command, kind *string) {
	cmd.Flags().StringVar(kind, "kind", core.DefaultSnapshotKind, "which snapshot of the stream")
}

// recordedSnapshot is the printed result of a put.
type recordedSnapshot struct {
	Stream  string `json:"stream"`
	Kind    string `json:"kind"`
	Version uint64 `json:"version"`
	Changed bool   `json:"changed"`
}

func newSnapshotPut(a *app) *cobra.Command {
	var f appendFlags
	var p core.SnapshotPut
	cmd := &cobra.Command{
		Use:   "put STREAM VERSION DATA",
		Short: "Record a snapshot of a stream at a version",
		Long: `Record a snapshot: DATA is the state after the event of VERSION. It is JSON, - for stdin, or
@FILE; --bytes records DATA as bytes. The stream must have reached the version, if it has events.

A snapshot of a greater version is kept, and the exit code is 4; --overwrite replaces it. The
command can be repeated safely: the same snapshot again changes nothing.`,
		Example: `  gyre snapshot put order-1 42 '{"total":10}'
  gyre snapshot put order-1 42 --kind search --bytes --content-type application/cbor @state.cbor`,
		Args: takes(3, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return usagef("gyre snapshot put %s 42 DATA", shellQuote(args[0])).because("%q is not a version", args[1])
			}
			content, err := a.eventOf(f, []string{p.Type, args[2]})
			if err != nil {
				return err
			}
			p.Stream, p.Version = args[0], version
			p.Format, p.ContentType, p.Data, p.Metadata = content.Format, content.ContentType, content.Data, content.Metadata
			return a.putSnapshot(cmd.Context(), p)
		},
	}
	kindFlag(cmd, &p.Kind)
	flags := cmd.Flags()
	flags.StringVar(&p.Type, "type", "", "type of the state")
	flags.StringArrayVarP(&f.metadata, "metadata", "m", nil, "key=value in the metadata (repeat)")
	flags.BoolVar(&f.bytes, "bytes", false, "DATA is bytes, not JSON")
	flags.StringVar(&f.contentType, "content-type", "", "media type of the bytes (default application/octet-stream)")
	flags.BoolVar(&p.Overwrite, "overwrite", false, "replace a snapshot of a greater version, too")
	return a.completeStream(a.talks(cmd))
}

func (a *app) putSnapshot(ctx context.Context, p core.SnapshotPut) error {
	done := recordedSnapshot{Stream: p.Stream, Kind: p.Kind, Version: p.Version}
	err := a.ask(ctx, func(ctx context.Context, client *sdk.Client) (err error) {
		done.Changed, err = client.RecordSnapshot(ctx, p)
		return err
	})
	if err != nil {
		return err
	}
	return printOne(a, done, func(d recordedSnapshot) string {
		said := "recorded"
		if !d.Changed {
			said = "already there:"
		}
		return fmt.Sprintf("%s snapshot %s of %s at version %d", said, visible(d.Kind), visible(d.Stream), d.Version)
	})
}

func newSnapshotGet(a *app) *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:     "get STREAM",
		Short:   "Show a snapshot",
		Example: "  gyre snapshot get order-1 -o json | jq .data",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s core.Snapshot
			err := a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) (err error) {
				s, err = client.ReadSnapshot(ctx, args[0], kind)
				return err
			})
			if err != nil {
				return err
			}
			return a.printSnapshot(&s)
		},
	}
	kindFlag(cmd, &kind)
	return a.completeStream(a.talks(cmd))
}

func (a *app) printSnapshot(s *core.Snapshot) error {
	if a.output == asJSON || a.output == asNDJSON {
		_, err := a.stdout.Write(append(wire.AppendSnapshot(nil, s), '\n'))
		return err
	}
	_, err := fmt.Fprintln(a.stdout, snapshotWords(s))
	return err
}

// snapshotWords is a snapshot in a line.
func snapshotWords(s *core.Snapshot) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "snapshot %s of %s@%d", cell(s.Kind, core.MaxSnapshotKindBytes), cell(s.Stream, core.MaxStreamNameBytes), s.Version)
	if s.Type != "" {
		fmt.Fprintf(&b, "  %s", cell(s.Type, core.MaxEventTypeBytes))
	}
	if s.Format != core.JSON {
		fmt.Fprintf(&b, "  %d bytes of %s", len(s.Data), cell(s.ContentType, core.MaxContentTypeBytes))
		return b.String()
	}
	fmt.Fprintf(&b, "  %s", cell(string(s.Data), maxShownState))
	return b.String()
}

// maxShownState bounds the state that is printed in a line.
const maxShownState = 4 << 10

// listedSnapshot is a snapshot in a list, as it is printed.
type listedSnapshot struct {
	Kind     string `json:"kind"`
	Version  uint64 `json:"version"`
	Type     string `json:"type,omitempty"`
	Bytes    int    `json:"bytes"`
	Recorded string `json:"recorded"`
}

func newSnapshotLs(a *app) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "ls STREAM",
		Aliases: []string{"list"},
		Short:   "List the snapshots of a stream",
		Example: "  gyre snapshot ls order-1",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usagef("--limit 100").because("--limit %d is less than 0", limit)
			}
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				return a.listSnapshots(cmd.Context(), client, args[0], limit)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "how many snapshots at most (default all)")
	return a.completeStream(a.talks(cmd))
}

func (a *app) listSnapshots(ctx context.Context, client *sdk.Client, stream string, limit int) error {
	l := list[listedSnapshot]{app: a, header: []string{"kind", "version", "type", "bytes", "recorded"}, row: func(s listedSnapshot) []string {
		return []string{cell(s.Kind, core.MaxSnapshotKindBytes), fmt.Sprint(s.Version), cell(s.Type, core.MaxEventTypeBytes), fmt.Sprint(s.Bytes), s.Recorded}
	}}
	after := ""
	return l.printAll(ctx, limit, func(ctx context.Context, most int) (items []listedSnapshot, end bool, err error) {
		page, err := client.ListSnapshots(ctx, core.SnapshotsRequest{Stream: stream, After: after, Limit: most})
		for i := range page.Snapshots {
			s := &page.Snapshots[i]
			items = append(items, listedSnapshot{s.Kind, s.Version, s.Type, s.Bytes, wire.FormatTime(s.Recorded)})
		}
		after = page.Next
		return items, page.End, err
	})
}

// deletedSnapshot is the printed result of a deletion.
type deletedSnapshot struct {
	Stream  string `json:"stream"`
	Kind    string `json:"kind"`
	Deleted bool   `json:"deleted"`
}

func newSnapshotRm(a *app) *cobra.Command {
	d := deletedSnapshot{}
	cmd := &cobra.Command{
		Use:     "rm STREAM",
		Short:   "Delete a snapshot, if there is one",
		Example: "  gyre snapshot rm order-1",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.Stream = args[0]
			err := a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) (err error) {
				d.Deleted, err = client.DeleteSnapshot(ctx, d.Stream, d.Kind)
				return err
			})
			if err != nil {
				return err
			}
			return printOne(a, d, func(d deletedSnapshot) string {
				if !d.Deleted {
					return fmt.Sprintf("%s has no snapshot %s", visible(d.Stream), visible(d.Kind))
				}
				return fmt.Sprintf("deleted snapshot %s of %s", visible(d.Kind), visible(d.Stream))
			})
		},
	}
	kindFlag(cmd, &d.Kind)
	return a.completeStream(a.talks(cmd))
}

// afterSnapshot is a Log whose first page was read with a snapshot.
type afterSnapshot struct {
	core.Log
	first *core.Page
}

// Read returns the first page, and then those that the Log has.
func (l *afterSnapshot) Read(ctx context.Context, r core.ReadRequest) (core.Page, error) {
	if page := l.first; page != nil {
		l.first = nil
		return *page, nil
	}
	return l.Log.Read(ctx, r)
}

// load prints a snapshot and up to limit events after it. In JSON they are one object.
func (a *app) load(ctx context.Context, client *sdk.Client, stream, kind string, limit int) (next uint64, more bool, err error) {
	asked, cancel := a.request(ctx)
	l, err := client.Load(asked, core.LoadRequest{Stream: stream, Kind: kind, Limit: core.Limit{Events: min(limit, core.MaxReadEvents)}})
	cancel()
	if err != nil {
		return 0, false, err
	}
	var before, after string
	if l.Snapshot != nil {
		before = string(wire.AppendSnapshot(nil, l.Snapshot))
	}
	switch {
	case a.output == asJSON && l.Snapshot != nil:
		before, after = `{"snapshot":`+before+`,"events":`, "}\n"
	case a.output == asJSON:
		before, after = `{"events":`, "}\n"
	case l.Snapshot == nil:
	case a.output == asNDJSON:
		before = `{"$snapshot":` + before + "}\n"
	default:
		before = snapshotWords(l.Snapshot) + "\n"
	}
	if _, err := strings.NewReader(before).WriteTo(a.stdout); err != nil {
		return 0, false, err
	}
	next, more, err = a.read(ctx, &afterSnapshot{client, &l.Page}, core.ReadRequest{Stream: stream}, limit)
	if err == nil {
		_, err = strings.NewReader(after).WriteTo(a.stdout)
	}
	return next, more, err
}
