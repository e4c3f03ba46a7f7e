package disk

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
)

// mergeRatio is how many runs of a level become one of the next. A look-up may have to
// ask two runs a level, and the index is written once a level.
const mergeRatio = 3

// maxRetiredStreams bounds the retired tables that are kept as a cache of
// versions; an entry takes about 100 bytes.
const maxRetiredStreams = 200_000

// start begins the flusher and the merger. sealed is called by the flusher
// after each segment that it has written the run of.
func (ix *index) start(log string, sealed func(end offset)) {
	ix.done.Go(func() { ix.flushAll(log, sealed) })
	ix.done.Go(ix.mergeAll)
}

// close ends the goroutines and closes the runs. What is not flushed is made
// from the log when it is next opened.
func (ix *index) close() {
	ix.stopWaiting()
	ix.done.Wait()
	for _, r := range ix.view.Load().runs {
		_ = r.file.Close()
	}
}

// await waits until ready holds of the view; false means closing.
func (ix *index) await(ready func(v *view) bool) bool {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	for !ix.closing && !ready(ix.view.Load()) {
		ix.changed.Wait()
	}
	return !ix.closing
}

// rest waits a while before the next try; false means closing.
func (ix *index) rest() bool {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	over := false
	timer := time.AfterFunc(ix.pause, func() {
		ix.mu.Lock()
		defer ix.mu.Unlock()
		over = true
		ix.changed.Broadcast()
	})
	defer timer.Stop()
	for !ix.closing && !over {
		ix.changed.Wait()
	}
	return !ix.closing
}

// retryIndex is how long the index waits after the disk refused it something.
const retryIndex = 250 * time.Millisecond

// flushAll is the flusher.
func (ix *index) flushAll(log string, sealed func(end offset)) {
	var warned complaint
	for ix.await(func(v *view) bool { return len(v.tables) > 1 }) {
		v := ix.view.Load()
		t, next := v.tables[0], v.tables[1]
		s := sealedSegment{end: v.segment(t.segment).end, next: next.first, seal: v.segment(next.segment).salt}
		r, err := ix.writeRun(t, &s, log)
		if warned.due(err) {
			ix.logger.Warn("the index of a segment cannot be written", "segment", segmentName(t.segment), "error", err)
		}
		ix.fail(&ix.flushFailed, err)
		if err != nil {
			if !ix.rest() {
				return
			}
			continue
		}
		ix.mu.Lock()
		ix.change(func(v *view) {
			v.runs = append(slices.Clone(v.runs), r)
			v.tables = slices.Clone(v.tables[1:])
			v.retired = retire(t, v.retired)
		})
		ix.mu.Unlock()
		t.retire()
		sealed(at(t.segment, s.end))
	}
}

// fail notes in why that the flusher or the merger cannot go on, or with nil that it
// can again, for those who wait for it.
func (ix *index) fail(why *error, err error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	*why = err
	ix.changed.Broadcast()
}

// retire puts t before the others and drops the oldest that are too many.
func retire(t *memtable, others []*memtable) []*memtable {
	kept := []*memtable{t}
	n := len(t.streams)
	for _, o := range others {
		if n += len(o.streams); n > maxRetiredStreams {
			break
		}
		kept = append(kept, o)
	}
	return kept
}

// mergeAll is the merger.
func (ix *index) mergeAll() {
	var warned complaint
	for ix.await(func(v *view) bool { return mergeable(v.runs) != nil }) {
		err := ix.mergeOnce()
		var damage *damagedRun
		if errors.As(err, &damage) {
			err = ix.heal(damage)
		}
		ix.fail(&ix.mergeFailed, err)
		if warned.due(err) {
			ix.logger.Warn("the index cannot be merged", "error", err)
		}
		if err != nil && !ix.rest() {
			return
		}
	}
}

func (ix *index) mergeOnce() error {
	ix.working.Lock()
	defer ix.working.Unlock()
	old := mergeable(ix.view.Load().runs)
	if old == nil {
		return nil
	}
	merged, err := ix.mergeRuns(old, ix.dir, nil)
	if err != nil {
		return err
	}
	ix.replace(old, []*run{merged})
	return nil
}

// mergeable finds adjacent runs of one level, as many as make one of the next.
func mergeable(runs []*run) []*run {
	n := 0
	for i := range runs {
		if i > 0 && runs[i].level() == runs[i-1].level() {
			n++
		} else {
			n = 1
		}
		if n == mergeRatio {
			return runs[i+1-n : i+1]
		}
	}
	return nil
}

// level grows with how many segments the run is of.
func (r *run) level() (level int) {
	for n := (r.last - r.first + 1) / mergeRatio; n > 0; n /= mergeRatio {
		level++
	}
	return level
}

// replace puts other runs in the place of some that are adjacent in the view,
// waits until nobody reads those any more, and removes them. It must be called
// with working held.
func (ix *index) replace(old, by []*run) {
	ix.mu.Lock()
	ix.change(func(v *view) {
		i := slices.Index(v.runs, old[0])
		v.runs = slices.Concat(v.runs[:i], by, v.runs[i+len(old):])
	})
	ix.mu.Unlock()
	// No look-up that began before the change is left when this is taken.
	ix.reading.Lock()
	defer ix.reading.Unlock()
	for _, r := range old {
		_ = r.file.Close()
		if !slices.ContainsFunc(by, func(b *run) bool { return b.name == r.name }) {
			// If it stays, the next open removes it: its segments are covered.
			_ = ix.fs.Remove(filepath.Join(ix.dir, r.name))
		}
	}
}

// heal makes a damaged run anew from the log.
func (ix *index) heal(damage *damagedRun) error {
	ix.working.Lock()
	defer ix.working.Unlock()
	if !slices.Contains(ix.view.Load().runs, damage.run) {
		return nil // somebody was faster
	}
	ix.logger.Error("the index is damaged; making it anew from the log", "error", damage)
	runs, err := ix.rebuild(damage.run.first, damage.run.last)
	if err != nil {
		return openError(err)
	}
	ix.replace([]*run{damage.run}, runs)
	return nil
}

// indexError says that the index led to another event than it should. Its
// checksums were right, so it was written wrong.
type indexError struct{ at offset }

func (e *indexError) Error() string {
	return core.Errorf(core.CodeStoreCorrupt, "the index leads to another event at %s", e.at).Error()
}

func (e *indexError) Unwrap() error { return core.CodeStoreCorrupt }
