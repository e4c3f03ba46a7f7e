package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/sdk"
)

const backupHelp = `Copy everything that a node has on disk into a folder on this machine, while the node goes
on: streams, subscriptions, plugins, keys. If the folder has an earlier backup of the same log,
only what is new is copied.

Every part is checked as it comes. Whatever ends the command leaves the earlier backup or the new
one; run it again, and it goes on where it was. A backup of a damaged log is refused.

The key must be an admin's. For a log in PostgreSQL, use pg_dump or pg_basebackup.`

func newBackup(a *app) *cobra.Command {
	var perSecond int64
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy all data of a running node into a folder",
		Long:  backupHelp,
		Example: `  gyre backup ./backup
  gyre backup /mnt/backup/gyre --rate 20MiB`,
		Args:              takes(1, 1),
		ValidArgsFunction: completeDirs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usagef("gyre backup DIR").because("the name of the folder is empty")
			}
			return a.backup(cmd.Context(), disk.BackupConfig{Dir: args[0], BytesPerSecond: perSecond})
		},
	}
	cmd.Flags().Var((*sizeFlag)(&perSecond), "rate", "most bytes to copy in a second, such as 20MiB (default no bound)")
	return a.talks(cmd)
}

// backedUp is the printed result of a backup.
type backedUp struct {
	Backup      string            `json:"backup"`
	Log         string            `json:"log"`
	Taken       time.Time         `json:"taken"`
	End         core.BackupPoint  `json:"end"`
	Earliest    *core.BackupPoint `json:"earliest"`
	Files       int               `json:"files"`
	Bytes       int64             `json:"bytes"`
	Copied      int               `json:"copied"`
	CopiedBytes int64             `json:"copiedBytes"`
}

func (a *app) backup(ctx context.Context, config disk.BackupConfig) error {
	var result disk.BackupResult
	err := a.withClient(ctx, func(client *sdk.Client) (err error) {
		meter := a.newMeter("backup", 0)
		defer meter.finish()
		config.Progress = func(done, total int64) {
			meter.show(done, fmt.Sprintf("%s of %s", byteCount(done), byteCount(total)))
		}
		result, err = disk.Backup(ctx, client, config)
		meter.finish()
		return adviseFolder(err, config.Dir)
	})
	if err != nil {
		return err
	}
	if result.Lost != nil {
		fmt.Fprintf(a.stderr, "A scavenge has removed what the earlier backup here had: this one begins at %s, that began at %s.\n",
			pointWords(result.Earliest), pointWords(result.Lost))
	}
	return printOne(a, backedUp{
		Backup: config.Dir, Log: result.Log, Taken: result.Taken, End: result.End, Earliest: result.Earliest,
		Files: len(result.Files), Bytes: result.Bytes, Copied: result.Copied, CopiedBytes: result.CopiedBytes,
	}, backedUp.words)
}

// adviseFolder returns err with what to do about a folder of this machine, if the system refused to
// write there. What the catalogue advises is about the disk of a node.
func adviseFolder(err error, dir string) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case !errors.As(err, &path) && !errors.As(err, &link):
		return err
	case errors.Is(err, core.CodeStoreFull):
		return &advised{err, fmt.Sprintf("Make room on the disk of %s, or name a folder on another one. Then run the command again.", shellQuote(dir))}
	}
	return &advised{err, fmt.Sprintf("Check that you may write to %s, and that its disk works. Then run the command again.", shellQuote(dir))}
}

func (b backedUp) words() string {
	return fmt.Sprintf("%s\n%s\n  copied    %s, %s", b.Backup, backupWords(b.Log, b.Files, b.Bytes, b.End, b.Earliest),
		howMany(uint64(b.Copied), "file", "files"), byteCount(b.CopiedBytes))
}

// backupWords says what a backup is.
func backupWords(log string, files int, bytes int64, end core.BackupPoint, earliest *core.BackupPoint) string {
	var w strings.Builder
	fmt.Fprintf(&w, "  log       %s\n", log)
	if earliest != nil {
		fmt.Fprintf(&w, "  from      %s\n", pointWords(earliest))
	}
	fmt.Fprintf(&w, "  until     %s\n", pointWords(&end))
	fmt.Fprintf(&w, "  files     %s, %s", comma(uint64(files)), byteCount(bytes))
	return w.String()
}

func pointWords(p *core.BackupPoint) string {
	if p.Position == 0 {
		return "position 0"
	}
	return fmt.Sprintf("position %s, %s", comma(p.Position), p.Time.UTC().Format(time.RFC3339Nano))
}

const restoreHelp = `Make a data directory from a backup. It must be empty, or not be there: nothing is
written over a store. Start a node on it with gyre serve --data.

--to-position N restores the log as it was after the event at position N, --to-time T as it was at
that time: streams, checkpoints of subscriptions, plugins and their state, and keys. A Commit is
restored whole, or not at all: of one that goes on behind position N, nothing is restored. Keys that
were revoked later are valid again.

The restored log has an identity of its own. Cursors from before the place go on; those from
behind it get log_changed.`

func newRestore(a *app) *cobra.Command {
	var position uint64
	var at string
	cmd := &cobra.Command{
		Use:   "restore BACKUP DATA",
		Short: "Make a data directory from a backup",
		Long:  restoreHelp,
		Example: `  gyre restore ./backup ./data2
  gyre restore ./backup ./data2 --to-position 50000
  gyre restore ./backup ./data2 --to-time 2026-08-01T12:00:00Z`,
		Args:              takes(2, 2),
		ValidArgsFunction: completeFolder,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" || args[1] == "" {
				return usagef("gyre restore BACKUP DATA").because("the name of a folder is empty")
			}
			config := disk.RestoreConfig{Backup: args[0], To: disk.Config{Dir: args[1]}}
			switch flags := cmd.Flags(); {
			case flags.Changed("to-position") && flags.Changed("to-time"):
				return usagef("gyre restore BACKUP DATA --to-position N").because("--to-position and --to-time are two places")
			case flags.Changed("to-position"):
				config.Until = &disk.RestorePoint{Position: &position}
			case flags.Changed("to-time"):
				t, ok := core.ParseTime(at)
				if !ok {
					return usagef("gyre restore BACKUP DATA --to-time 2026-08-01T12:00:00Z").because("--to-time %s is not a time in RFC 3339", at)
				}
				config.Until = &disk.RestorePoint{Time: t}
			}
			return a.restore(cmd.Context(), config)
		},
	}
	cmd.Flags().Uint64Var(&position, "to-position", 0, "restore up to this position (default all of the backup)")
	cmd.Flags().StringVar(&at, "to-time", "", "restore up to this time, in RFC 3339")
	return cmd
}

// completeFolder completes folders.
func completeFolder(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// restored is the printed result of a restore.
type restored struct {
	Data  string `json:"data"`
	Log   string `json:"log"`
	From  string `json:"from"`
	Head  uint64 `json:"head"`
	Blobs int    `json:"blobs"`
	Bytes int64  `json:"bytes"`
}

func (a *app) restore(ctx context.Context, config disk.RestoreConfig) error {
	meter := a.newMeter("restore", 0)
	defer meter.finish()
	config.To.Progress = func(done, total int64) {
		meter.show(done, fmt.Sprintf("%s of %s", byteCount(done), byteCount(total)))
	}
	result, err := disk.Restore(ctx, config)
	meter.finish()
	if errors.Is(err, core.CodeUnavailable) {
		return &advised{err, "Check the paths, and that you may read the backup and write the data."}
	}
	if err != nil {
		return adviseFolder(err, config.To.Dir)
	}
	if p := config.Until; p != nil && p.Position != nil && result.Head < *p.Position {
		fmt.Fprintf(a.stderr, "Position %d is inside a Commit: the log ends before that, at %d.\n", *p.Position, result.Head)
	}
	return printOne(a, restored{
		Data: config.To.Dir, Log: result.Log, From: result.From, Head: result.Head, Blobs: result.Blobs, Bytes: result.Bytes,
	}, restored.words)
}

func (r restored) words() string {
	return fmt.Sprintf("%s\n  log       %s, restored from %s\n  head      %s\n  size      %s", r.Data, r.Log, r.From, comma(r.Head), byteCount(r.Bytes))
}

// backupChecked is the printed result of a check of a backup.
type backupChecked struct {
	Backup   string            `json:"backup"`
	Clean    bool              `json:"clean"`
	Log      string            `json:"log"`
	Taken    time.Time         `json:"taken"`
	End      core.BackupPoint  `json:"end"`
	Earliest *core.BackupPoint `json:"earliest"`
	Files    int               `json:"files"`
	Bytes    int64             `json:"bytes"`
	Problems []problem         `json:"problems"`
}

// verifyBackup checks a backup.
func (a *app) verifyBackup(ctx context.Context, dir string) error {
	meter := a.newMeter("verify", 0)
	defer meter.finish()
	report, err := disk.VerifyBackup(ctx, disk.BackupConfig{Dir: dir, Progress: func(done, total int64) {
		meter.show(done, fmt.Sprintf("%s of %s", byteCount(done), byteCount(total)))
	}})
	meter.finish()
	if err != nil {
		return err
	}
	found := backupChecked{
		Backup: dir, Clean: report.Clean(), Log: report.Log, Taken: report.Taken, End: report.End, Earliest: report.Earliest,
		Files: len(report.Files), Bytes: report.Bytes, Problems: []problem{},
	}
	for _, p := range report.Problems {
		found.Problems = append(found.Problems, problem(p))
	}
	if err := printOne(a, found, backupChecked.words); err != nil || found.Clean {
		return err
	}
	return core.Errorf(core.CodeBackupDamaged, "%s in %s", howMany(uint64(len(found.Problems)), "problem", "problems"), dir)
}

func (c backupChecked) words() string {
	verdict := "NOT CLEAN"
	if c.Clean {
		verdict = "clean"
	}
	words := fmt.Sprintf("%s: %s\n%s", c.Backup, verdict, backupWords(c.Log, c.Files, c.Bytes, c.End, c.Earliest))
	for _, p := range c.Problems {
		words += fmt.Sprintf("\nPROBLEM   %s at byte %d: %s", p.File, p.Offset, p.Detail)
	}
	return words
}
