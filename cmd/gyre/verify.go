package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/runtime"
)

const verifyHelp = `Check the data of a stopped node, or a backup.

Of a node: every checksum of the log, the order of versions and
positions, that no event is in the log twice, and that the index and the records match the
log; that every blob has the content that its name says. The command never changes the log. --rebuild builds everything else from the log.

--backup DIR checks every file of a backup: its length, its checksum, and the checksums in it.

The exit code is 8 if there are problems, or problems that --rebuild cannot repair.`

func newVerify(a *app) *cobra.Command {
	var data, backup string
	var options disk.VerifyOptions
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the data of a stopped node, or a backup",
		Long:  verifyHelp,
		Example: `  gyre verify --data ./data
  gyre verify --data ./data --rebuild
  gyre verify --backup ./backup`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if backup != "" {
				if cmd.Flags().Changed("data") || options.Rebuild {
					return usagef("gyre verify --backup DIR").because("--backup is checked alone")
				}
				return a.verifyBackup(cmd.Context(), backup)
			}
			if v := a.getenv(envName("data")); v != "" && !cmd.Flags().Changed("data") {
				data = v
			}
			return a.verify(cmd.Context(), data, options)
		},
	}
	cmd.Flags().StringVar(&data, "data", runtime.DefaultData, "directory of the data (env GYRE_DATA)")
	cmd.Flags().StringVar(&backup, "backup", "", "folder of a backup to check instead")
	if err := cmd.MarkFlagDirname("backup"); err != nil {
		panic(err) // there is such a flag
	}
	cmd.Flags().BoolVar(&options.Rebuild, "rebuild", false, "rebuild the index and the records from the log")
	return cmd
}

// verified is the printed result of a check.
type verified struct {
	Data     string    `json:"data"`
	Clean    bool      `json:"clean"`
	Rebuilt  bool      `json:"rebuilt"`
	Log      string    `json:"log"`
	Events   uint64    `json:"events"`
	Streams  uint64    `json:"streams"`
	Records  uint64    `json:"records"`
	Blobs    int       `json:"blobs"`
	Segments int       `json:"segments"`
	Bytes    int64     `json:"bytes"`
	Tail     int64     `json:"tailBytes"`
	Problems []problem `json:"problems"`
}

type problem struct {
	File    string `json:"file"`
	Offset  int64  `json:"offset"`
	Detail  string `json:"detail"`
	Derived bool   `json:"derived"`
}

func (a *app) verify(ctx context.Context, data string, options disk.VerifyOptions) error {
	label := "verify"
	if options.Rebuild {
		label = "rebuild"
	}
	meter := a.newMeter(label, 0)
	defer meter.finish()
	report, err := disk.Verify(ctx, disk.Config{Dir: data, Progress: func(done, total int64) {
		meter.show(done, fmt.Sprintf("%s of %s", byteCount(done), byteCount(total)))
	}}, options)
	meter.finish()
	if errors.Is(err, core.CodeUnavailable) {
		return &advised{err, "Check the path of --data, and that you may read what is there."}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s checked, %s, %s, %s\n", howMany(report.Events, "event", "events"), byteCount(report.Bytes),
		clock(meter.elapsed()), rate(int64(report.Events), meter.elapsed()))
	found := foundBy(data, &report)
	if err := printOne(a, found, verified.words); err != nil {
		return err
	}
	return found.verdict()
}

func foundBy(data string, r *disk.Report) verified {
	found := verified{
		Data: data, Clean: r.Clean(), Rebuilt: r.Rebuilt, Log: r.Log,
		Events: r.Events, Streams: r.Streams, Records: r.Records, Blobs: r.Blobs, Segments: r.Segments,
		Bytes: r.Bytes, Tail: r.Tail, Problems: []problem{},
	}
	for _, p := range r.Problems {
		found.Problems = append(found.Problems, problem(p))
	}
	return found
}

// verdict is not_clean if something is still wrong.
func (v verified) verdict() error {
	if v.Clean {
		return nil
	}
	err := core.Errorf(core.CodeNotClean, "%d problems in %s", len(v.Problems), v.Data)
	if len(v.Problems) == 1 {
		err = core.Errorf(core.CodeNotClean, "1 problem in %s", v.Data)
	}
	return &advised{err, v.advice()}
}

// advice says what to do about the worst of the problems.
func (v verified) advice() string {
	var derived, blobs bool
	for _, p := range v.Problems {
		switch {
		case p.Derived:
			derived = true
		case strings.HasPrefix(p.File, "blobs/"):
			blobs = true
		default:
			return "The log itself is damaged: restore the data from a backup (gyre restore). Keep what is there; the log is never changed by a check."
		}
	}
	if blobs && !derived {
		return "Restore the named files from a backup, or upload what they had again; the log is whole."
	}
	return fmt.Sprintf("gyre verify --data %s --rebuild; the log is whole, and the rest is made from it.", shellQuote(v.Data))
}

func (v verified) words() string {
	var b strings.Builder
	verdict := "NOT CLEAN"
	if v.Clean {
		verdict = "clean"
	}
	fmt.Fprintf(&b, "%s: %s\n", v.Data, verdict)
	fmt.Fprintf(&b, "  log       %s\n", v.Log)
	fmt.Fprintf(&b, "  events    %s in %s\n", comma(v.Events), howMany(v.Streams, "stream", "streams"))
	fmt.Fprintf(&b, "  records   %s\n", comma(v.Records))
	if v.Blobs > 0 {
		fmt.Fprintf(&b, "  blobs     %s\n", comma(v.Blobs))
	}
	fmt.Fprintf(&b, "  segments  %d, %s", v.Segments, byteCount(v.Bytes))
	if v.Tail > 0 {
		fmt.Fprintf(&b, "\n  tail      %s bytes of a write that was cut off; the next start removes them", comma(v.Tail))
	}
	if v.Rebuilt {
		b.WriteString("\n  rebuilt   index and records, from the log")
	}
	for _, p := range v.Problems {
		fmt.Fprintf(&b, "\nPROBLEM   %s at byte %d: %s", p.File, p.Offset, p.Detail)
	}
	return b.String()
}
