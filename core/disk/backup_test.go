package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

// backedUp is a log, and all Commits that it took.
type backedUp struct {
	*scavenged
	commits []backedUpCommit
}

type backedUpCommit struct {
	commit core.Commit
	added  []core.Event
	before time.Time // the Commit was recorded later
}

func (c *backedUpCommit) last() uint64 { return c.added[len(c.added)-1].Position }

func (b *backedUp) write(t testing.TB, e *Engine, n int) {
	t.Helper()
	for range n {
		c, added := b.next()
		before := time.Now()
		o := e.Commit(context.Background(), []*core.Commit{&c}).Outcomes[0]
		if o.Err != nil {
			t.Error(o.Err)
			return
		}
		b.took(&c, added)
		b.commits = append(b.commits, backedUpCommit{c, added, before})
	}
}

// until is the log as it was at a position.
func (b *backedUp) until(position uint64) *scavenged {
	s := newScavenged(b.random.Uint64())
	s.before, s.gone, s.lives = b.before, b.gone, b.lives
	for i := range b.commits {
		if c := &b.commits[i]; c.last() <= position {
			s.took(&c.commit, c.added)
		}
	}
	return s
}

// endBefore is the last position, up to a given one, at which a Commit ends; 0 if there is none.
func (b *backedUp) endBefore(position uint64) (end uint64) {
	for i := range b.commits {
		if last := b.commits[i].last(); last <= position {
			end = max(end, last)
		}
	}
	return end
}

// asksForNothing reports whether a log without events is wanted.
func asksForNothing(p *RestorePoint) bool { return p != nil && p.Position != nil && *p.Position == 0 }

// mustBackUp backs up and verifies the backup.
func mustBackUp(t testing.TB, source core.BackupSource, config BackupConfig) BackupResult {
	t.Helper()
	result, err := Backup(t.Context(), source, config)
	if err != nil {
		t.Fatal(err)
	}
	report, err := VerifyBackup(t.Context(), config)
	if err != nil || !report.Clean() {
		t.Fatalf("verify: %+v, %v", report.Problems, err)
	}
	if report.Log != result.Log || report.End != result.End || report.Bytes != result.Bytes {
		t.Fatalf("the backup is %+v, want %+v", report, result)
	}
	return result
}

// mustRestore restores to a new directory and compares.
func mustRestore(t testing.TB, config RestoreConfig, want *scavenged) {
	t.Helper()
	result, err := Restore(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	verifyClean(t, config.To, VerifyOptions{})
	e := open(t, config.To)
	defer e.Close()
	if state := e.State(); state.Log != result.Log || state.Log == result.From || state.Head != result.Head {
		t.Fatalf("the log is %+v, want %+v", state, result)
	}
	want.check(t, e, false)
	after := backedUp{scavenged: want}
	after.write(t, e, 3)
	want.check(t, e, false)
}

// TestBackupSoak backs a log up into one folder again and again, while it is written and
// scavenged, and restores it to places by chance.
func TestBackupSoak(t *testing.T) {
	t.Parallel()
	for seed := range rounds(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			root, fs := t.TempDir(), newFaultFS()
			config := Config{Dir: filepath.Join(root, "data"), FS: fs, SegmentBytes: minSegmentBytes}
			to := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
			e := open(t, config)
			b := &backedUp{scavenged: newScavenged(uint64(seed))}
			for round := range 6 {
				b.write(t, e, 30)
				done := make(chan bool)
				go func() {
					defer close(done)
					b.write(t, e, 30)
					if b.random.IntN(2) == 0 {
						b.remove()
						if _, err := e.Scavenge(context.Background(), core.Scavenging{Fate: b.decide, All: b.random.IntN(3) == 0}); err != nil {
							t.Error(err)
						}
					}
				}()
				result := mustBackUp(t, e, to)
				<-done
				restoreSomewhere(t, b, result, RestoreConfig{Backup: to.Dir, To: Config{
					Dir: filepath.Join(root, fmt.Sprint("restored-", round)), FS: fs, SegmentBytes: minSegmentBytes,
				}})
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// restoreSomewhere restores all of a backup, or to a position or time by chance.
func restoreSomewhere(t *testing.T, b *backedUp, backup BackupResult, config RestoreConfig) {
	t.Helper()
	last := backup.End.Position
	position := last - min(b.random.Uint64N(last/2+1), last)
	switch b.random.IntN(3) {
	case 0:
		position = last
	case 1:
		config.Until = &RestorePoint{Position: &position}
	case 2:
		i := slices.IndexFunc(b.commits, func(c backedUpCommit) bool { return c.last() >= position })
		time.Sleep(time.Until(b.commits[i].before.Add(time.Microsecond)))
		config.Until = &RestorePoint{Time: b.commits[i].before.Add(-time.Microsecond)}
		position = 0
		if i > 0 {
			position = b.commits[i-1].last()
		}
	}
	end := b.endBefore(position)
	if backup.Earliest != nil && end < backup.Earliest.Position || end == 0 && !asksForNothing(config.Until) {
		if _, err := Restore(t.Context(), config); !errors.Is(err, core.CodeInvalidRestorePoint) {
			t.Fatalf("position %d, earliest %+v: %v", position, backup.Earliest, err)
		}
		return
	}
	mustRestore(t, config, b.until(end))
}

// TestIncrementalBackup: only what is new is copied, and what is not needed is removed.
func TestIncrementalBackup(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	e := open(t, Config{Dir: filepath.Join(root, "data"), FS: fs, SegmentBytes: minSegmentBytes})
	defer e.Close()
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	b := &backedUp{scavenged: newScavenged(1)}
	b.write(t, e, 100)
	if _, _, err := e.PutBlob(t.Context(), bytes.NewReader([]byte("a blob")), core.MaxBlobBytes); err != nil {
		t.Fatal(err)
	}
	first := mustBackUp(t, e, config)
	if first.Copied != len(first.Files) || first.CopiedBytes != first.Bytes || len(first.Files) < 4 {
		t.Errorf("the first backup copied %d of %d files, %d of %d bytes", first.Copied, len(first.Files), first.CopiedBytes, first.Bytes)
	}
	again := mustBackUp(t, e, config)
	if again.Copied != 0 || again.CopiedBytes != 0 {
		t.Errorf("with nothing new, %d files and %d bytes were copied", again.Copied, again.CopiedBytes)
	}
	b.write(t, e, 1)
	next := mustBackUp(t, e, config)
	if next.Copied == 0 || next.CopiedBytes != next.Bytes-first.Bytes {
		t.Errorf("one Commit more: %d files, %d bytes of %d", next.Copied, next.CopiedBytes, next.Bytes-first.Bytes)
	}
	names := fs.find(filepath.Join(config.Dir, "log") + "/")
	if segments := segmentsOf(&next.Backup); len(names) != len(segments) {
		t.Errorf("%d files for %d segments", len(names), len(segments))
	}
	mustRestore(t, RestoreConfig{Backup: config.Dir, To: Config{Dir: filepath.Join(root, "restored"), FS: fs, SegmentBytes: minSegmentBytes}}, b.scavenged)
}

// changingLog is a log that has replaced a file when the second one is asked for.
type changingLog struct {
	core.BackupSource
	asked int
}

func (s *changingLog) BackupFile(ctx context.Context, f core.BackupFile, from int64, sum uint32) (io.ReadCloser, error) {
	if s.asked++; s.asked == 2 {
		return nil, backupChanged(&f)
	}
	return s.BackupSource.BackupFile(ctx, f, from, sum)
}

// What was copied before the log was listed anew counts, too.
func TestBackupOfAChangingLog(t *testing.T) {
	root := t.TempDir()
	e := open(t, Config{Dir: filepath.Join(root, "data"), SegmentBytes: minSegmentBytes})
	defer e.Close()
	(&backedUp{scavenged: newScavenged(1)}).write(t, e, 100)
	source := &changingLog{BackupSource: e}
	made, err := Backup(t.Context(), source, BackupConfig{Dir: filepath.Join(root, "backup")})
	if err != nil || source.asked < 3 || made.Copied != len(made.Files) || made.CopiedBytes != made.Bytes {
		t.Errorf("%d files asked for, %d of %d copied, %d of %d bytes, %v", source.asked, made.Copied, len(made.Files), made.CopiedBytes, made.Bytes, err)
	}
}

// TestSizeOfAScavengedLog: a restore and a check tell the size of the files.
func TestSizeOfAScavengedLog(t *testing.T) {
	root := t.TempDir()
	data := Config{Dir: filepath.Join(root, "data"), SegmentBytes: minSegmentBytes}
	e := open(t, data)
	for range 50 {
		commitOne(t, e, eventAndRecord("s", "k", "v"))
	}
	goes := func(context.Context, *core.Event) (core.Fate, error) { return core.GoesForGood, nil }
	newest, err := e.Scavenge(t.Context(), core.Scavenging{DryRun: true})
	if err != nil || newest.LeftOut == 0 {
		t.Fatalf("%+v, %v", newest, err)
	}
	all, err := e.Scavenge(t.Context(), core.Scavenging{Fate: goes, All: true})
	if err != nil || all.LeftOut != 0 || all.Won == 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	config := BackupConfig{Dir: filepath.Join(root, "backup")}
	backup := mustBackUp(t, e, config)
	to := Config{Dir: filepath.Join(root, "restored"), SegmentBytes: minSegmentBytes}
	result, err := Restore(t.Context(), RestoreConfig{Backup: config.Dir, To: to})
	if err != nil || result.Bytes != backup.Bytes {
		t.Errorf("the restored log has %d bytes, the backup %d: %v", result.Bytes, backup.Bytes, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := Verify(t.Context(), data, VerifyOptions{}); err != nil || report.Bytes != backup.Bytes {
		t.Errorf("the check tells %d bytes, the backup has %d: %v", report.Bytes, backup.Bytes, err)
	}
}

// TestBackupOfAnotherLog: a folder with a backup is not overwritten by what does not go on
// from there.
func TestBackupOfAnotherLog(t *testing.T) {
	root := t.TempDir()
	data, saved := filepath.Join(root, "data"), filepath.Join(root, "saved")
	config := BackupConfig{Dir: filepath.Join(root, "backup")}
	e := open(t, Config{Dir: data})
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	copyDir(t, data, saved)
	for range 3 {
		commitOne(t, e, eventAndRecord("s", "k", "v"))
	}
	mustBackUp(t, e, config)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	refused := func(e *Engine, want error) {
		t.Helper()
		before := bytesOf(t, config.Dir)
		if _, err := Backup(t.Context(), e, config); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if !bytes.Equal(bytesOf(t, config.Dir), before) {
			t.Error("the backup was changed")
		}
	}
	other := open(t, Config{Dir: filepath.Join(root, "other")})
	defer other.Close()
	refused(other, core.CodeLogMismatch)

	e = open(t, Config{Dir: saved}) // has lost what was written after the copy
	defer e.Close()
	refused(e, core.CodeLogChanged)
	for range 9 {
		commitOne(t, e, eventAndRecord("s", "k", "v"))
	}
	refused(e, core.CodeLogChanged)

	config.Dir = root
	refused(e, core.CodeFolderNotEmpty)
	if _, err := Backup(t.Context(), e, BackupConfig{}); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("of no folder: %v", err)
	}
}

// TestBackupOfADamagedLog: no damage gets into a backup, and nothing of the log is left in the
// folder.
func TestBackupOfADamagedLog(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	data := filepath.Join(root, "data")
	e := open(t, Config{Dir: data, FS: fs, SegmentBytes: minSegmentBytes})
	defer e.Close()
	b := &backedUp{scavenged: newScavenged(2)}
	b.write(t, e, 60)
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	mustBackUp(t, e, config)
	b.write(t, e, 200)
	before := fs.find(config.Dir)
	segments := fs.find(filepath.Join(data, "log"))
	for _, name := range []string{segments[len(segments)/2], segments[len(segments)-2]} {
		content := fs.contents(name)
		for _, at := range []int{5, headerBytes + 2, headerBytes + 3000} {
			damaged := slices.Clone(content)
			damaged[at] ^= 4
			fs.set(name, damaged)
			_, err := Backup(t.Context(), e, config)
			if !errors.Is(err, core.CodeStoreCorrupt) {
				t.Errorf("damage at byte %d of %s: %v", at, name, err)
			}
			if after := fs.find(config.Dir); !slices.Equal(after, before) {
				t.Errorf("the folder has %v, want %v", after, before)
			}
		}
		fs.set(name, content)
	}
	mustBackUp(t, e, config)
}

// TestBackupOfADamagedPrefix damages what the backup has of the segment that is written: that is
// told apart from a log that has lost it. Damage of earlier segments leaves the backup good.
func TestBackupOfADamagedPrefix(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	data := filepath.Join(root, "data")
	e := open(t, Config{Dir: data, FS: fs, SegmentBytes: minSegmentBytes})
	defer e.Close()
	b := &backedUp{scavenged: newScavenged(6)}
	b.write(t, e, 100)
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	first := mustBackUp(t, e, config)
	segments := segmentsOf(&first.Backup)
	flip := func(f *core.BackupFile, at int64) {
		file, err := fs.OpenFile(filepath.Join(data, f.Name), os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		content := make([]byte, 1)
		if _, err := file.ReadAt(content, at); err != nil {
			t.Fatal(err)
		}
		content[0] ^= 16
		if _, err := file.WriteAt(content, at); err != nil {
			t.Fatal(err)
		}
	}
	last := &segments[len(segments)-1]
	for _, grown := range []bool{false, true} {
		if grown {
			commitOne(t, e, eventAndRecord("s", "k", "v"))
		}
		for _, at := range []int64{headerBytes, last.Bytes - 1} {
			flip(last, at)
			_, err := Backup(t.Context(), e, config)
			if !errors.Is(err, core.CodeStoreCorrupt) || core.AsError(err).Offset == nil {
				t.Errorf("damage at byte %d, grown %v: %v", at, grown, err)
			}
			if report, err := VerifyBackup(t.Context(), config); err != nil || !report.Clean() || report.End != first.End {
				t.Errorf("the backup is %+v, %v", report, err)
			}
			flip(last, at)
		}
	}
	if _, err := e.BackupFile(t.Context(), *last, last.Bytes, last.Sum+1); !errors.Is(err, core.CodeLogChanged) {
		t.Errorf("another content: %v", err)
	}
	flip(&segments[0], headerBytes+1000)
	mustBackUp(t, e, config)
}

// TestDamagedBackup changes each byte of a small backup in turn, and cuts its files: verify finds
// it, and restore refuses it and leaves nothing.
func TestDamagedBackup(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	e := open(t, Config{Dir: filepath.Join(root, "data"), FS: fs, SegmentBytes: minSegmentBytes})
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	if _, _, err := e.PutBlob(t.Context(), bytes.NewReader([]byte("a blob")), core.MaxBlobBytes); err != nil {
		t.Fatal(err)
	}
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	mustBackUp(t, e, config)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	to := Config{Dir: filepath.Join(root, "restored"), FS: fs, SegmentBytes: minSegmentBytes}
	check := func(what string) {
		t.Helper()
		report, err := VerifyBackup(t.Context(), config)
		if err == nil && report.Clean() {
			t.Errorf("%s: verify finds nothing", what)
		}
		if _, err := Restore(t.Context(), RestoreConfig{Backup: config.Dir, To: to}); err == nil {
			t.Errorf("%s: it is restored", what)
		}
		if left := fs.find(to.Dir + "/"); len(left) > 0 {
			t.Errorf("%s: %v is left", what, left)
		}
	}
	for _, name := range fs.find(config.Dir) {
		content := fs.contents(name)
		for at := 0; at < len(content); at += 1 + at/100 {
			damaged := slices.Clone(content)
			damaged[at] ^= 1 << (at % 8)
			fs.set(name, damaged)
			check(fmt.Sprint("a bit in byte ", at, " of ", name))
		}
		fs.set(name, content[:len(content)-1])
		check("the last byte of " + name)
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
		check(name)
		fs.set(name, content)
	}
}

// interrupted is a source that fails after some bytes.
type interrupted struct {
	core.BackupSource
	left int
}

var errInterrupted = errors.New("interrupted")

func (i *interrupted) BackupFile(ctx context.Context, f core.BackupFile, from int64, sum uint32) (io.ReadCloser, error) {
	content, err := i.BackupSource.BackupFile(ctx, f, from, sum)
	return &interruptedReader{content, i}, err
}

type interruptedReader struct {
	io.ReadCloser
	source *interrupted
}

func (r *interruptedReader) Read(b []byte) (int, error) {
	if r.source.left == 0 {
		return 0, errInterrupted
	}
	n, err := r.ReadCloser.Read(b[:min(len(b), r.source.left)])
	r.source.left -= n
	return n, err
}

// TestInterruptedBackup: the earlier backup stays, and the next one copies what is missing.
func TestInterruptedBackup(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	e := open(t, Config{Dir: filepath.Join(root, "data"), FS: fs, SegmentBytes: minSegmentBytes})
	defer e.Close()
	b := &backedUp{scavenged: newScavenged(3)}
	b.write(t, e, 100)
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	if _, err := Backup(t.Context(), &interrupted{e, 30_000}, config); err == nil {
		t.Fatal("there is no error")
	}
	if _, err := VerifyBackup(t.Context(), config); !errors.Is(err, core.CodeBackupNotFound) {
		t.Errorf("of an interrupted backup: %v", err)
	}
	if _, err := Restore(t.Context(), RestoreConfig{Backup: config.Dir, To: Config{Dir: filepath.Join(root, "restored"), FS: fs}}); !errors.Is(err, core.CodeBackupNotFound) {
		t.Errorf("of an interrupted backup: %v", err)
	}
	first := mustBackUp(t, e, config)
	if first.Copied == len(first.Files) {
		t.Errorf("all %d files were copied once more", first.Copied)
	}
	b.write(t, e, 100)
	if _, err := Backup(t.Context(), &interrupted{e, 30_000}, config); err == nil {
		t.Fatal("there is no error")
	}
	report, err := VerifyBackup(t.Context(), config)
	if err != nil || !report.Clean() || report.End != first.End {
		t.Fatalf("%+v, %v, want the one that ends at %+v", report, err, first.End)
	}
	mustRestore(t, RestoreConfig{Backup: config.Dir, To: Config{Dir: filepath.Join(root, "restored"), FS: fs, SegmentBytes: minSegmentBytes}}, b.until(first.End.Position))
}

// TestPowerLossOfBackupsSoak loses power at each change that a backup makes, and each that a restore
// makes: the backup is the earlier or the new one, the log is there whole or is refused.
func TestPowerLossOfBackupsSoak(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	e := open(t, Config{Dir: filepath.Join(root, "data"), FS: fs.clone(), SegmentBytes: minSegmentBytes})
	defer e.Close()
	random := rand.New(rand.NewPCG(4, 4))
	b := &backedUp{scavenged: newScavenged(4)}
	b.write(t, e, 30)
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	first := mustBackUp(t, e, config)
	b.write(t, e, 20)
	second := e.State().Head
	to := Config{Dir: filepath.Join(root, "restored"), SegmentBytes: minSegmentBytes}
	stride := 80 / rounds(40)
	for call := 0; ; call += 1 + random.IntN(stride) {
		left, ended := loseAt(fs, random, call, func(fs FS) error {
			_, err := Backup(t.Context(), e, BackupConfig{Dir: config.Dir, FS: fs})
			return err
		})
		report, err := VerifyBackup(t.Context(), BackupConfig{Dir: config.Dir, FS: left})
		if err != nil || !report.Clean() || report.End != first.End && report.End.Position != second {
			t.Fatalf("power lost at call %d: %+v, %v", call, report, err)
		}
		result := mustBackUp(t, e, BackupConfig{Dir: config.Dir, FS: left})
		if result.End.Position != second {
			t.Fatalf("the next backup ends at %+v", result.End)
		}
		if ended {
			fs = left
			break
		}
	}
	for call := 0; ; call += 1 + random.IntN(stride) {
		left, ended := loseAt(fs, random, call, func(fs FS) error {
			to := to
			to.FS = fs
			_, err := Restore(t.Context(), RestoreConfig{Backup: config.Dir, To: to})
			return err
		})
		to := to
		to.FS = left
		again := RestoreConfig{Backup: config.Dir, To: to}
		switch r, err := Open(t.Context(), to); {
		case err == nil && r.State().Head == second:
			b.check(t, r, false)
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Restore(t.Context(), again); !errors.Is(err, core.CodeFolderNotEmpty) {
				t.Fatalf("power lost at call %d: a restore over it: %v", call, err)
			}
		case err == nil && r.State().Head == 0 && !ended: // nothing of it is there
			_ = r.Close()
		case errors.Is(err, core.CodeRestoreUnfinished) && !ended:
			mustRestore(t, again, b.until(second))
		default:
			t.Fatalf("power lost at call %d, ended %v: %v", call, ended, err)
		}
		if ended {
			return
		}
	}
}

// loseAt runs do on a copy of a file system that loses power at a call, and returns what is
// left.
func loseAt(fs *faultFS, random *rand.Rand, call int, do func(FS) error) (left *faultFS, ended bool) {
	run := fs.clone()
	run.fault = func(n int, _, _ string) error {
		if n > call {
			run.dead = true
			return errPowerLoss
		}
		return nil
	}
	err := do(run)
	return run.crash(random), err == nil
}

// TestBackupToAFullDisk: a backup leaves the earlier one, and a restore leaves nothing; with room
// both work.
func TestBackupToAFullDisk(t *testing.T) {
	root, fs := t.TempDir(), newFaultFS()
	e := open(t, Config{Dir: filepath.Join(root, "data"), FS: fs.clone(), SegmentBytes: minSegmentBytes})
	defer e.Close()
	b := &backedUp{scavenged: newScavenged(5)}
	b.write(t, e, 30)
	config := BackupConfig{Dir: filepath.Join(root, "backup"), FS: fs}
	first := mustBackUp(t, e, config)
	to := RestoreConfig{Backup: config.Dir, To: Config{Dir: filepath.Join(root, "restored"), FS: fs, SegmentBytes: minSegmentBytes}}
	b.write(t, e, 100)
	for _, writes := range []int{0, 1, 3, 5} {
		left := writes
		fs.fault = func(_ int, op, _ string) error {
			if op == "write" {
				if left--; left < 0 {
					return syscall.ENOSPC
				}
			}
			return nil
		}
		_, backupErr := Backup(t.Context(), e, config)
		left = writes
		_, restoreErr := Restore(t.Context(), to)
		fs.fault = nil
		if !errors.Is(backupErr, core.CodeStoreFull) || !errors.Is(restoreErr, core.CodeStoreFull) || !errors.Is(backupErr, syscall.ENOSPC) || !errors.Is(restoreErr, syscall.ENOSPC) {
			t.Errorf("after %d writes: backup %v, restore %v", writes, backupErr, restoreErr)
		}
		if report, err := VerifyBackup(t.Context(), config); err != nil || !report.Clean() || report.End != first.End {
			t.Errorf("after %d writes: %+v, %v", writes, report, err)
		}
		if found := fs.find(to.To.Dir + "/"); len(found) > 0 {
			t.Errorf("after %d writes %v is left", writes, found)
		}
	}
	mustBackUp(t, e, config)
	mustRestore(t, to, b.scavenged)
}

// TestRestoredIdentity restores a log to a place behind which the original went on: what was
// given out before the place is right in both, and what was given out behind it is told apart.
func TestRestoredIdentity(t *testing.T) {
	root := t.TempDir()
	original := core.NewStore(open(t, Config{Dir: filepath.Join(root, "data")}), core.StoreConfig{})
	defer original.Close()
	move := func(store *core.Store, from, to uint64) error {
		_, err := store.Append(t.Context(), core.Commit{Progress: &core.Progress{Name: "p", From: from, To: to, Log: store.State().Log}})
		return err
	}
	write := func(store *core.Store, n int) {
		t.Helper()
		for range n {
			if _, err := store.Append(t.Context(), eventAndRecord("s", "k", "v")); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(original, 5)
	if err := move(original, 0, 4); err != nil {
		t.Fatal(err)
	}
	write(original, 5)
	config := BackupConfig{Dir: filepath.Join(root, "backup")}
	if _, err := Backup(t.Context(), original, config); err != nil {
		t.Fatal(err)
	}
	position := uint64(7)
	to := Config{Dir: filepath.Join(root, "restored"), SegmentBytes: testSegmentBytes}
	if _, err := Restore(t.Context(), RestoreConfig{Backup: config.Dir, To: to, Until: &RestorePoint{Position: &position}}); err != nil {
		t.Fatal(err)
	}
	restored := core.NewStore(open(t, to), core.StoreConfig{})
	defer restored.Close()
	write(restored, 5)
	was, now := original.State(), restored.State()
	for _, c := range []struct {
		from core.From
		want error
	}{
		{was.Cursor(7).From(), nil},
		{was.Cursor(8).From(), core.CodeLogChanged},
		{core.From{Kind: core.AfterPosition, N: 7, Log: was.Log}, nil},
		{core.From{Kind: core.AfterPosition, N: 8, Log: was.Log}, core.CodeLogChanged},
		{now.Cursor(9).From(), nil},
		{core.From{Kind: core.AfterPosition, N: 9, Log: now.Log}, nil},
	} {
		f, err := restored.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: c.from})
		if err == nil {
			_ = f.Close()
		}
		if !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("after %+v: %v, want %v", c.from, err, c.want)
		}
	}
	if info, err := core.ReadProgress(t.Context(), restored, "p"); err != nil || info.Position != 4 || info.Log != now.Log {
		t.Errorf("progress %+v, %v", info, err)
	}
	if err := move(restored, 4, 9); err != nil {
		t.Errorf("a progress goes on: %v", err)
	}
	if _, err := original.Follow(t.Context(), core.FollowRequest{Stream: core.All, From: now.Cursor(1).From()}); !errors.Is(err, core.CodeLogChanged) {
		t.Errorf("a cursor of the restored log in the original: %v", err)
	}
}

// TestRestoreEndsBeforeACommit: a Commit that goes on behind the position is not restored in part.
func TestRestoreEndsBeforeACommit(t *testing.T) {
	root := t.TempDir()
	e := open(t, Config{Dir: filepath.Join(root, "data")})
	defer e.Close()
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	two := core.Append{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t"}, {Type: "t"}}}
	commitOne(t, e, core.Commit{Appends: []core.Append{two}})
	config := BackupConfig{Dir: filepath.Join(root, "backup")}
	mustBackUp(t, e, config)
	for position, want := range map[uint64]uint64{0: 0, 1: 1, 2: 1, 3: 3} {
		to := Config{Dir: filepath.Join(root, fmt.Sprint("to-", position))}
		result, err := Restore(t.Context(), RestoreConfig{Backup: config.Dir, To: to, Until: &RestorePoint{Position: &position}})
		if err != nil || result.Head != want {
			t.Errorf("restored to position %d the log ends at %d, %v, want %d", position, result.Head, err, want)
		}
	}
}

// TestRestoreIsRefused: nothing is written over a store, and no place that the log never had is
// restored.
func TestRestoreIsRefused(t *testing.T) {
	root := t.TempDir()
	data := filepath.Join(root, "data")
	e := open(t, Config{Dir: data})
	defer e.Close()
	two := core.Append{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t"}, {Type: "t"}}}
	commitOne(t, e, core.Commit{Appends: []core.Append{two}})
	for range 3 {
		commitOne(t, e, eventAndRecord("s", "k", "v"))
	}
	config := BackupConfig{Dir: filepath.Join(root, "backup")}
	mustBackUp(t, e, config)
	other := filepath.Join(root, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "notes"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	number := func(n uint64) *RestorePoint { return &RestorePoint{Position: &n} }
	for _, c := range []struct {
		dir, backup string
		until       *RestorePoint
		want        error
	}{
		{data, config.Dir, nil, core.CodeFolderNotEmpty},
		{other, config.Dir, nil, core.CodeFolderNotEmpty},
		{config.Dir, config.Dir, nil, core.CodeFolderNotEmpty},
		{filepath.Join(root, "none"), data, nil, core.CodeBackupNotFound},
		{filepath.Join(root, "none"), config.Dir, number(1), core.CodeInvalidRestorePoint},
		{filepath.Join(root, "none"), config.Dir, number(6), core.CodeInvalidRestorePoint},
		{filepath.Join(root, "none"), config.Dir, &RestorePoint{Time: time.Now().Add(time.Hour)}, core.CodeInvalidRestorePoint},
		{filepath.Join(root, "none"), config.Dir, &RestorePoint{Time: time.Unix(0, 0)}, core.CodeInvalidRestorePoint},
	} {
		if _, err := Restore(t.Context(), RestoreConfig{Backup: c.backup, To: Config{Dir: c.dir}, Until: c.until}); !errors.Is(err, c.want) {
			t.Errorf("restore %s to %s until %+v: %v, want %v", c.backup, c.dir, c.until, err, c.want)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused restore has left something: %v", err)
	}
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	if events := readAll(t, e, "s"); len(events) != 6 {
		t.Errorf("%d events are left", len(events))
	}
}

// TestFoldersOfBackups: a backup is no data directory, neither is inside the other, and files of
// somebody else stay.
func TestFoldersOfBackups(t *testing.T) {
	root := t.TempDir()
	data, backup, link := filepath.Join(root, "data"), filepath.Join(root, "backup"), filepath.Join(root, "link")
	e := open(t, Config{Dir: data})
	defer e.Close()
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	mustBackUp(t, e, BackupConfig{Dir: backup})
	file, foreign := filepath.Join(root, "file"), filepath.Join(backup, "log", "mine.txt")
	for _, name := range []string{file, foreign} {
		if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "sub"), data, filepath.Join(data, "index"), filepath.Join(data, "log", "a", "b"), filepath.Join(link, "sub"), filepath.Join(backup, "sub")} {
		if _, err := Backup(t.Context(), e, BackupConfig{Dir: dir}); !errors.Is(err, core.CodeFolderNotEmpty) {
			t.Errorf("backup to %s: %v", dir, err)
		}
		if _, err := Restore(t.Context(), RestoreConfig{Backup: backup, To: Config{Dir: dir}}); !errors.Is(err, core.CodeFolderNotEmpty) {
			t.Errorf("restore to %s: %v", dir, err)
		}
	}
	commitOne(t, e, eventAndRecord("s", "k", "v"))
	mustBackUp(t, e, BackupConfig{Dir: backup})
	if _, err := os.Stat(foreign); err != nil {
		t.Error(err)
	}
	for range 2 {
		before := bytesOf(t, backup)
		if _, err := Open(t.Context(), Config{Dir: backup}); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("a backup is opened: %v", err)
		}
		if _, err := Verify(t.Context(), Config{Dir: backup}, VerifyOptions{}); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("a backup is verified as data: %v", err)
		}
		if !bytes.Equal(bytesOf(t, backup), before) {
			t.Error("the backup was changed")
		}
		if err := os.Remove(filepath.Join(backup, "manifest")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

// TestCloseDuringABackup: Close does not wait until a file is compared with what was copied of it,
// and that goes on.
func TestCloseDuringABackup(t *testing.T) {
	root := t.TempDir()
	e := open(t, Config{Dir: filepath.Join(root, "data"), SegmentBytes: minSegmentBytes})
	(&backedUp{scavenged: newScavenged(7)}).write(t, e, 100)
	made := mustBackUp(t, e, BackupConfig{Dir: filepath.Join(root, "backup")})
	first, asked := &made.Files[0], 0
	content, err := e.BackupFile(askedContext{t.Context(), func() error {
		if asked++; asked == 2 { // the first time is before the file is opened
			return e.Close()
		}
		return nil
	}}, *first, first.Bytes, first.Sum)
	if err != nil || asked < 2 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
}

// TestManifestThatIsTooLong: what could not be read again does not replace the manifest.
func TestManifestThatIsTooLong(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	e := open(t, Config{Dir: filepath.Join(root, "data"), SegmentBytes: minSegmentBytes})
	defer e.Close()
	config := BackupConfig{Dir: filepath.Join(root, "backup")}
	made := mustBackUp(t, e, config).Backup
	made.Log = strings.Repeat("l", maxManifestBytes)
	if err := writeManifest(osFS{}, config.Dir, &made); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("%.100v", err)
	}
	if report, err := VerifyBackup(t.Context(), config); err != nil || !report.Clean() || report.Log != e.State().Log {
		t.Errorf("the backup is %.1000v, %v", report, err)
	}
}

// FuzzManifest decodes anything: it is refused, or what it names can be of a log and is in its
// folder.
func FuzzManifest(f *testing.F) {
	segment := core.BackupFile{Name: backupSegmentName(1), Version: segmentVersion(1, 0), Bytes: headerBytes, Sum: 7}
	b := core.Backup{Log: "log", End: core.BackupPoint{File: segment.Name, Byte: segment.Bytes}, Files: []core.BackupFile{
		segment, {Name: "blobs/" + blobName([32]byte{}), Bytes: 1},
	}}
	text, err := encodeManifest(&b)
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := bytes.Cut(text, []byte("\n"))
	f.Add(text, body)
	f.Fuzz(func(t *testing.T, text, body []byte) {
		_, _ = decodeManifest(text)
		b, err := decodeManifest(sealManifest(body))
		if err != nil {
			return
		}
		again, err := encodeManifest(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(again); err != nil {
			t.Fatalf("what was decoded is refused: %v", err)
		}
		for i := range b.Files {
			if name := storedName(&b.Files[i]); !filepath.IsLocal(name) {
				t.Fatalf("file %q is elsewhere", name)
			}
		}
	})
}
