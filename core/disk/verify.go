package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// VerifyOptions chooses what Verify does.
type VerifyOptions struct {
	// Rebuild makes everything that is derived from the log anew. The log
	// itself is never changed.
	Rebuild bool
}

// Report is what Verify found.
type Report struct {
	Log      string // identity
	Segments int
	Events   uint64
	Streams  uint64
	Records  uint64
	Blobs    int
	Bytes    int64 // of the log
	// Tail is how many bytes a write that was cut off has left behind the
	// log's end. It is no problem: the next Open removes them.
	Tail     int64
	Problems []Problem
	Rebuilt  bool
}

// Clean reports whether nothing is wrong.
func (r *Report) Clean() bool { return len(r.Problems) == 0 }

// Problem is something that is not as it should be.
type Problem struct {
	File   string // in the data directory
	Offset int64  // in the file
	Detail string
	// Derived says that it can be mended with Rebuild. Else the log itself or a blob is
	// damaged, and only a backup helps, or to put the blob again.
	Derived bool
}

func (p Problem) String() string { return fmt.Sprintf("%s+%d: %s", p.File, p.Offset, p.Detail) }

// Verify checks a log that no process has open: every frame and checksum, the
// order of positions and versions, that no id is there twice, and that what is
// derived from the log, index and records, says the same as the log. It compares all blobs
// with their ids. Errors
// are store_locked, store_newer and those of the disk; what is wrong with the
// data is in the Report.
func Verify(ctx context.Context, config Config, options VerifyOptions) (Report, error) {
	if err := config.validate(); err != nil {
		return Report{}, err
	}
	if err := checkData(config.FS, config.Dir); err != nil && !errors.Is(err, core.CodeUnavailable) {
		return Report{}, err
	}
	if _, err := config.FS.List(filepath.Join(config.Dir, logFolder)); err != nil {
		return Report{}, core.Errorf(core.CodeUnavailable, "there is no log in the data directory: %w", err)
	}
	e := &Engine{fs: config.FS, dir: config.Dir, config: config}
	defer func() { _ = e.release() }()
	if err := e.takeLocks(); err != nil {
		return Report{}, err
	}
	v := &verifier{engine: e, ctx: ctx}
	err := v.run(options)
	v.removeWork()
	if err == nil {
		err = v.checkBlobs()
	}
	return v.report, err
}

// verifier makes the index of the log once more, in a directory of its own,
// and compares. Making it checks the log.
type verifier struct {
	engine *Engine
	ctx    context.Context
	report Report

	sealed  []sealedSegment
	last    segmentHeader
	end     mark                      // of the log
	fresh   []*run                    // of every segment, the last one's too
	links   uint64                    // how many the log has
	changed map[string]core.Lifecycle // of all streams that have one, once the log was read
	records *recordVerifier
}

func (v *verifier) workDir() string { return filepath.Join(v.engine.dir, "verify.tmp") }

func (v *verifier) run(options VerifyOptions) error {
	e := v.engine
	headers, err := readLog(e.fs, e.logDir(), false)
	if err != nil {
		return v.problem(err)
	}
	if len(headers) == 0 {
		return nil
	}
	e.id, e.key = headers[0].log, headers[0].key
	e.files = newSegmentFiles(e.fs, e.logDir())
	e.index = newIndex(e.fs, v.workDir(), e.key, e.config.Logger)
	e.index.view.Store(describe(headers))
	v.report.Log, v.report.Segments = e.id, len(headers)
	v.sealed = sealedSegments(headers)
	v.last = headers[len(headers)-1]
	v.removeWork()
	if err := e.fs.MakeDir(v.workDir()); err != nil {
		return openError(err)
	}
	v.records = v.newRecordVerifier()
	defer func() { _ = v.records.db.close() }()
	if err := v.checkLog(); err != nil {
		return err
	}
	if !v.report.Clean() {
		return nil // nothing can be compared with a damaged log
	}
	if err := v.checkIndex(); err != nil {
		return err
	}
	if err := v.checkKinds(); err != nil {
		return err
	}
	if err := v.checkRecords(); err != nil {
		return err
	}
	if options.Rebuild {
		return v.rebuild()
	}
	return nil
}

// problem puts damage into the report; any other error it returns.
func (v *verifier) problem(err error) error {
	var damage *damagedRun
	var known *core.Error
	switch {
	case errors.As(err, &damage):
		v.add(Problem{"index/" + damage.name, damage.at, damage.what + " is damaged", true})
	case errors.As(err, &known) && known.Code == core.CodeStoreCorrupt:
		p := Problem{File: "log", Detail: known.Detail}
		if known.Offset != nil {
			p.Offset = *known.Offset
			if _, name, ok := strings.Cut(known.Detail, " of log/"); ok {
				p.File = "log/" + name
			}
		}
		v.add(p)
	default:
		return err
	}
	return nil
}

func (v *verifier) add(p Problem) { v.report.Problems = append(v.report.Problems, p) }

// checkLog goes through all segments, and through the index it makes of them.
func (v *verifier) checkLog() error {
	e := v.engine
	total, done := e.index.view.Load().bytesBefore(at(v.last.number, 0)), int64(0)
	for i := range v.sealed {
		if err := v.ctx.Err(); err != nil {
			return core.AsError(err)
		}
		s := &v.sealed[i]
		r := newReplay(&s.header, nil)
		err := e.replay(s, v.visitor(r))
		if err == nil {
			err = v.keep(r, s)
		}
		if err := v.problem(err); err != nil {
			return err
		}
		size, err := fileSize(e.fs, filepath.Join(e.logDir(), segmentName(s.header.number)))
		if err != nil {
			return err
		}
		v.report.Bytes += min(size, s.end) // less after a scavenge, more with room that was prepared
		done += s.end
		e.config.Progress(done, total)
	}
	if err := v.problem(v.checkLast()); err != nil || !v.report.Clean() {
		return err
	}
	return v.problem(v.checkWhole())
}

func (v *verifier) checkLast() error {
	e, h := v.engine, &v.last
	file, err := e.files.acquire(h.number)
	if err != nil {
		return openError(err)
	}
	defer e.files.release(file)
	r := newReplay(h, nil)
	t, err := scanTail(file, *h, v.visitor(r))
	if err != nil {
		return openError(err)
	}
	v.report.Bytes += t.end
	v.report.Tail = max(t.garbage-t.end, 0)
	v.end = mark{end: at(h.number, t.end), frame: r.frame}
	return v.keep(r, &sealedSegment{end: t.end, next: t.next})
}

// visitor is r's, with the records kept here.
func (v *verifier) visitor(r *replay) visitor {
	visit := r.visitor()
	visit.record = func(_ int64, c recordChange) error {
		if err := v.takeLifecycle(&c); err != nil {
			return err
		}
		return v.records.add(c)
	}
	event := visit.event
	visit.event = func(o int64, encoded []byte) error {
		if core.IsLink(encoded) {
			v.links++
		}
		return event(o, encoded)
	}
	return visit
}

// keep writes the run of a segment into the work directory.
func (v *verifier) keep(r *replay, s *sealedSegment) error {
	v.report.Events += uint64(r.table.ids.used)
	run, err := v.engine.index.writeRun(r.table, s, v.engine.id)
	if err == nil {
		v.fresh = append(v.fresh, run)
	}
	return err
}

// checkWhole merges everything into one run: that is where it shows whether
// the versions of each stream go on from segment to segment, and whether an id
// is there twice.
func (v *verifier) checkWhole() error {
	whole, err := v.mergeWhole()
	var damage *damagedRun
	if errors.As(err, &damage) {
		// The runs were only just written, so it is the log that is wrong.
		v.add(Problem{File: "log", Detail: "the versions of a stream have a gap"})
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = whole.file.Close() }()
	if err := v.checkLinks(whole, &v.last); err != nil {
		return err
	}
	r, err := v.engine.reachAt(v.end)
	if err != nil {
		return openError(err)
	}
	if err := v.records.finish(r); err != nil {
		return err
	}
	v.report.Records = v.records.count
	for c := newStreamCursor(whole, "", false); ; {
		if err := c.next(); err != nil || c.done {
			return err
		}
		if v.isPresent(c.stream.name) {
			v.report.Streams++
		}
		if c.stream.first != 1 && whole.rewritten == 0 {
			v.add(Problem{File: "log", Detail: fmt.Sprintf("stream %q begins with version %d", c.stream.name, c.stream.first)})
		}
	}
}

// mergeAtOnce bounds the memory of a merge; a run takes some 200 KiB in it.
const mergeAtOnce = 64

func (v *verifier) mergeWhole() (*run, error) {
	runs := v.fresh
	for {
		var merged []*run
		for group := range slices.Chunk(runs, mergeAtOnce) {
			r, err := v.engine.index.mergeRuns(group, v.workDir(), v.twice)
			if err != nil {
				return nil, err
			}
			merged = append(merged, r)
		}
		if len(merged) == 1 {
			return merged[0], nil
		}
		runs = merged
	}
}

// twice compares the events, or links, at two places that have one hash.
func (v *verifier) twice(a, b offset) error {
	var events [2]core.Event
	for i, o := range []offset{a, b} {
		encoded, err := v.engine.encodedAt(v.engine.index.view.Load(), o, allWritten)
		if err != nil {
			return err
		}
		if !decode(encoded, &events[i]) {
			return corrupt(o, "an event is malformed")
		}
	}
	x, y := &events[0], &events[1]
	for _, ev := range []*core.Event{x, y} {
		if isRemoved, _ := lifecycles(v.lifecycle).isRemoved(ev); isRemoved {
			return nil // its id is free again
		}
	}
	if x.ID == y.ID && isEvent(x) == isEvent(y) && (isEvent(x) || x.Stream == y.Stream) {
		v.add(Problem{File: "log/" + segmentName(b.segment()), Offset: b.byte(), Detail: fmt.Sprintf("event id %s is also at %s", x.ID, a)})
	}
	return nil
}

// checkIndex compares every run that is not stale with one made of the same segments. A run is
// determined by them to the byte.
func (v *verifier) checkIndex() error {
	e := v.engine
	dir := filepath.Join(e.dir, "index")
	names, err := e.fs.List(dir)
	if err != nil {
		return openError(err)
	}
	for _, name := range names {
		if _, _, ok := parseRunName(name); !ok {
			continue
		}
		if err := v.ctx.Err(); err != nil {
			return core.AsError(err)
		}
		r, err := openRun(e.fs, dir, name)
		if err == nil {
			err = v.compareRun(r)
			_ = r.file.Close()
		}
		if err := v.problem(err); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) compareRun(r *run) error {
	if !r.fits(v.sealed, v.engine.id) {
		return r.damaged(0, "what it says of its segments")
	}
	if r.isStale(v.sealed) {
		return nil // the next open makes it anew
	}
	same := v.fresh[r.first-1]
	if r.first != r.last {
		merged, err := v.engine.index.mergeRuns(v.fresh[r.first-1:r.last], v.workDir(), nil)
		if err != nil {
			return err
		}
		defer func() { _ = merged.file.Close() }()
		same = merged
	}
	return compareFiles(r, same)
}

func compareFiles(r, want *run) error {
	a, b := newWindow(r.file, math.MaxInt64, scanStrideBytes), newWindow(want.file, math.MaxInt64, scanStrideBytes)
	for o := int64(0); ; {
		x, err := a.at(o, scanStrideBytes)
		if err != nil {
			return r.damaged(o, reason(err))
		}
		y, err := b.at(o, scanStrideBytes)
		if err != nil {
			return err
		}
		if !bytes.Equal(x, y) {
			n := 0
			for n < min(len(x), len(y)) && x[n] == y[n] {
				n++
			}
			return r.damaged(o+int64(n), "what differs from the log")
		}
		if o += int64(len(x)); len(x) < scanStrideBytes {
			return nil
		}
	}
}

// removeWork removes the work directory's files.
func (v *verifier) removeWork() {
	for _, r := range v.fresh {
		_ = r.file.Close()
	}
	names, err := v.engine.fs.List(v.workDir())
	if err != nil {
		return
	}
	for _, name := range names {
		_ = v.engine.fs.Remove(filepath.Join(v.workDir(), name))
	}
	_ = v.engine.fs.Remove(v.workDir())
}
