package disk

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// sealedSegment is what the headers tell of a segment that is not the last.
type sealedSegment struct {
	header segmentHeader
	end    int64
	next   uint64 // position behind its last event
	seal   uint32 // the salt of the segment behind it
}

func sealedSegments(headers []segmentHeader) []sealedSegment {
	sealed := make([]sealedSegment, len(headers)-1)
	for i := range sealed {
		sealed[i] = sealedSegment{headers[i], headers[i+1].prevEnd, headers[i+1].first, headers[i+1].salt}
	}
	return sealed
}

// replay goes through the frames of a sealed segment.
func (e *Engine) replay(s *sealedSegment, v visitor) error {
	file, err := e.files.acquire(s.header.number)
	if err != nil {
		return openError(err)
	}
	defer e.files.release(file)
	next, err := scanSealed(file, s.end, s.header, v)
	if err != nil {
		return openError(err)
	}
	if next > s.next || next < s.next && file.extents == nil {
		return corrupt(at(s.header.number, s.end), "position %d is due in the next segment, which begins with %d", next, s.next)
	}
	return nil
}

// openIndex finds the runs that belong to the log, and makes those that are
// missing. Along the way it hands the records those frames that they miss. report is
// called with the bytes of the log that are done.
func (e *Engine) openIndex(ctx context.Context, sealed []sealedSegment, report func(done int64)) error {
	runs, err := e.findRuns(sealed)
	if err != nil {
		return err
	}
	v := e.index.view.Load()
	done := func(s *sealedSegment) { report(v.segment(s.header.number).before + s.end) }
	for i := 0; i < len(sealed); {
		if err := ctx.Err(); err != nil {
			return core.AsError(err)
		}
		s := &sealed[i]
		if len(runs) > 0 && runs[0].first == s.header.number && len(v.tables) == 0 {
			r := runs[0]
			runs = runs[1:]
			v.runs = append(v.runs, r)
			for ; i < len(sealed) && sealed[i].header.number <= r.last; i++ {
				if err := e.replayRecords(&sealed[i]); err != nil {
					return err
				}
				done(&sealed[i])
			}
			continue
		}
		for len(runs) > 0 && runs[0].first <= s.header.number {
			_ = runs[0].file.Close() // cannot be used without the ones before it
			runs = runs[1:]
		}
		if err := e.indexSegment(v, s); err != nil {
			return err
		}
		i++
		done(s)
	}
	return nil
}

// replayRecords is for a segment that needs no new run.
func (e *Engine) replayRecords(s *sealedSegment) error {
	end := at(s.header.number, s.end)
	if e.records.applied() >= end {
		return nil
	}
	r := newReplay(&s.header, e.records)
	v := r.visitor()
	v.event = nil
	if err := e.replay(s, v); err != nil {
		return err
	}
	e.records.publishReplayed(mark{end: end, frame: r.frame})
	return nil
}

// indexSegment makes the run of a segment from its frames. If the disk does
// not take it, the segment's table stays in memory and is left to the flusher.
func (e *Engine) indexSegment(v *view, s *sealedSegment) error {
	r := newReplay(&s.header, e.records)
	if err := e.replay(s, r.visitor()); err != nil {
		return err
	}
	end := at(s.header.number, s.end)
	e.records.publishReplayed(mark{end: end, frame: r.frame})
	if len(v.tables) == 0 {
		run, err := e.index.writeRun(r.table, s, e.id)
		if err == nil {
			v.runs = append(v.runs, run)
			return nil
		}
		e.config.Logger.Warn("the index of a segment cannot be written", "segment", segmentName(s.header.number), "error", err)
	}
	v.tables = append(v.tables, r.table)
	return nil
}

// findRuns opens the runs that fit the log, in order and without overlaps, and
// removes the other files.
func (e *Engine) findRuns(sealed []sealedSegment) ([]*run, error) {
	names, err := e.fs.List(e.indexDir())
	if err != nil {
		return nil, openError(err)
	}
	var runs []*run
	for _, name := range names {
		if _, _, ok := parseRunName(name); !ok {
			if strings.HasSuffix(name, ".tmp") {
				_ = e.fs.Remove(filepath.Join(e.indexDir(), name))
			}
			continue
		}
		r, err := openRun(e.fs, e.indexDir(), name)
		if err == nil && !r.fits(sealed, e.id) {
			err = r.damaged(0, "it does not belong to the log")
		}
		var damage *damagedRun
		if errors.As(err, &damage) {
			e.config.Logger.Error("the index is damaged; making it anew from the log", "error", err)
			if r != nil {
				_ = r.file.Close()
			}
			_ = e.fs.Remove(filepath.Join(e.indexDir(), name))
			continue
		}
		if err != nil {
			return nil, openError(err)
		}
		if r.isStale(sealed) {
			_ = r.file.Close()
			_ = e.fs.Remove(filepath.Join(e.indexDir(), name))
			continue
		}
		runs = append(runs, r)
	}
	return e.withoutOverlaps(runs), nil
}

// withoutOverlaps keeps the larger of two runs for the same segments: a merge
// was done, and what it merged not yet removed.
func (e *Engine) withoutOverlaps(runs []*run) []*run {
	slices.SortFunc(runs, func(a, b *run) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.last, a.last))
	})
	kept := runs[:0]
	for _, r := range runs {
		if len(kept) > 0 && r.first <= kept[len(kept)-1].last {
			_ = r.file.Close()
			_ = e.fs.Remove(filepath.Join(e.indexDir(), r.name))
			continue
		}
		kept = append(kept, r)
	}
	return kept
}

// fits reports whether the run is of these segments. It may be stale.
func (r *run) fits(sealed []sealedSegment, log string) bool {
	if first, last, _ := parseRunName(r.name); first != r.first || last != r.last {
		return false
	}
	if r.log != log || r.first < 1 || int(r.last) > len(sealed) {
		return false
	}
	first, last := &sealed[r.first-1], &sealed[r.last-1]
	return r.firstPosition == first.header.first && r.nextPosition == last.next && r.end == at(r.last, last.end) && r.seal == last.seal
}

// isStale reports whether segments of the run, which fits, were rewritten since: a scavenge was
// ended before it made the run anew.
func (r *run) isStale(sealed []sealedSegment) bool {
	var rewritten uint64
	for i := r.first; i <= r.last; i++ {
		rewritten ^= sealed[i-1].header.rewriting.mark(i)
	}
	return r.rewritten != rewritten
}

// rebuildRuns makes the runs of some sealed segments anew, one for each.
func (e *Engine) rebuildRuns(first, last uint32) (runs []*run, err error) {
	defer func() {
		if err != nil {
			e.index.discard(runs)
		}
	}()
	for number := first; number <= last; number++ {
		s, err := e.sealedSegment(number)
		if err != nil {
			return runs, err
		}
		r := newReplay(&s.header, nil)
		visit := r.visitor()
		visit.record = nil
		if err := e.replay(s, visit); err != nil {
			return runs, err
		}
		run, err := e.index.writeRun(r.table, s, e.id)
		if err != nil {
			return runs, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

// sealedSegment reads what is known of a segment from its header and the next
// one's.
func (e *Engine) sealedSegment(number uint32) (*sealedSegment, error) {
	var headers [2]segmentHeader
	for i := range headers {
		n := number + uint32(i)
		file, err := e.files.acquire(n)
		if err != nil {
			return nil, openError(err)
		}
		headers[i], err = file.header()
		e.files.release(file)
		if err != nil {
			return nil, openError(err)
		}
	}
	return &sealedSegments(headers[:])[0], nil
}
