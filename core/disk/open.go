package disk

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Open opens the log in a directory, or begins one there. Errors: store_locked
// if another process has it, store_newer, store_corrupt with the offset if
// something acknowledged is damaged. A write that was cut off is repaired.
func Open(ctx context.Context, config Config) (*Engine, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	e := &Engine{fs: config.FS, dir: config.Dir, config: config, scavenger: newScavenger()}
	if err := e.open(ctx); err != nil {
		_ = e.release()
		return nil, err
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context) error {
	if err := e.takeLocks(); err != nil {
		return err
	}
	e.blobs = newBlobStore(e.fs, e.blobDir())
	if err := e.blobs.tidy(); err != nil {
		return openError(err)
	}
	e.files = newSegmentFiles(e.fs, e.logDir())
	e.appender = newAppender(e.fs, e.logDir())
	headers, err := readLog(e.fs, e.logDir(), true)
	if err != nil {
		return err
	}
	if len(headers) == 0 {
		h, err := createLog(e.fs, e.logDir(), e.config.SegmentBytes)
		if err != nil {
			return openError(err)
		}
		if err := e.holdFirst(); err != nil {
			return err
		}
		headers = append(headers, h)
	}
	e.id, e.key = headers[0].log, headers[0].key
	e.index = newIndex(e.fs, e.indexDir(), e.key, e.config.Logger)
	return e.recover(ctx, headers)
}

// lockName is the file that says which process has the log. It may be removed while
// that process lives, so it is not what is relied on.
const lockName = "lock"

// takeLocks makes the directories and takes the locks: of the log itself, which
// cannot be removed under a process without its events, and of the file that names
// the process. Nothing is written before the log is locked.
func (e *Engine) takeLocks() error {
	if err := e.makeDirs(e.dir); err != nil {
		return err
	}
	if !e.config.restoring {
		if err := checkData(e.fs, e.dir); err != nil {
			return err
		}
	}
	if err := e.makeDirs(e.logDir()); err != nil {
		return err
	}
	err := e.hold(e.logDir())
	if err == nil {
		err = e.holdFirst()
	}
	if err == nil {
		l, lockErr := e.fs.Lock(filepath.Join(e.dir, lockName), true)
		err = e.lock(lockName, l, lockErr)
	}
	if err != nil {
		return err
	}
	return e.makeDirs(e.indexDir(), e.recordsDir(), e.blobDir())
}

func (e *Engine) makeDirs(dirs ...string) error {
	for _, dir := range dirs {
		if err := e.fs.MakeDir(dir); err != nil {
			return openError(err)
		}
	}
	return nil
}

// holdFirst locks the first segment: it is the log's for good, wherever its folder is
// moved or linked to.
func (e *Engine) holdFirst() error {
	err := e.hold(e.firstSegment())
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new log
	}
	return err
}

func (e *Engine) firstSegment() string { return filepath.Join(e.logDir(), segmentName(1)) }

// holdInstead locks a file that is about to take the name of a segment, if that is the first. The
// caller then calls done, and says whether it has.
func (e *Engine) holdInstead(file, segment string) (done func(renamed bool), err error) {
	i := slices.IndexFunc(e.locks, func(l heldLock) bool { return l.name == segment })
	if i < 0 {
		return func(bool) {}, nil
	}
	other, err := e.fs.Lock(file, false)
	if err != nil {
		return nil, err
	}
	return func(renamed bool) {
		if renamed {
			e.locks[i].Closer, other = other, e.locks[i].Closer
		}
		_ = other.Close()
	}, nil
}

// heldLock is the lock of a file or folder.
type heldLock struct {
	io.Closer
	name string
}

func (e *Engine) hold(name string) error {
	l, err := e.fs.Lock(name, false)
	return e.lock(name, l, err)
}

// lock notes a lock that was taken, or says why it was not.
func (e *Engine) lock(name string, l io.Closer, err error) error {
	switch {
	case errors.Is(err, errLocked):
		return core.Errorf(core.CodeStoreLocked, "the data directory is locked by %s", e.lockedBy())
	case errors.Is(err, errNotOwn):
		return core.Errorf(core.CodeInvalidConfig, "%s in the data directory is a link; remove it", lockName)
	case err != nil:
		return openError(err)
	}
	e.locks = append(e.locks, heldLock{l, name})
	return nil
}

// lockedBy names the process that has the log, as far as it is known.
func (e *Engine) lockedBy() string {
	pid := make([]byte, 20)
	if file, err := e.fs.OpenFile(filepath.Join(e.dir, lockName), os.O_RDONLY); err == nil {
		n, _ := file.ReadAt(pid, 0)
		pid = pid[:n]
		_ = file.Close()
	}
	if _, err := strconv.Atoi(string(pid)); err != nil {
		return "another process"
	}
	return "process " + string(pid)
}

// openError is for what the system refuses while the log is opened.
func openError(err error) error {
	var known *core.Error
	if errors.As(err, &known) {
		return err
	}
	if isFull(err) {
		return core.Errorf(core.CodeStoreFull, "cannot open the log: %s", reason(err))
	}
	return core.Errorf(core.CodeUnavailable, "cannot open the log: %w", err)
}

// readLog lists the segments and reads their headers. With tidy, it removes what
// was being prepared: files that have no header yet.
func readLog(fs FS, dir string, tidy bool) ([]segmentHeader, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, openError(err)
	}
	var headers []segmentHeader
	for i, name := range names {
		if strings.HasSuffix(name, ".tmp") && tidy {
			if err := fs.Remove(filepath.Join(dir, name)); err != nil {
				return nil, openError(err)
			}
			continue
		}
		number, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		h, begun, err := readHeader(fs, filepath.Join(dir, name), number)
		if err != nil {
			return nil, err
		}
		if !begun {
			if !lastSegment(names[i+1:]) {
				return nil, corrupt(at(number, 0), "the segment header is missing")
			}
			if tidy {
				if err := removeUnbegun(fs, dir, name); err != nil {
					return nil, openError(err)
				}
			}
			continue
		}
		headers = append(headers, h)
	}
	return headers, checkChain(headers)
}

// removeUnbegun removes a segment that has no header. The removal is durable
// before the name is used again.
func removeUnbegun(fs FS, dir, name string) error {
	if err := fs.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return fs.SyncDir(dir)
}

func lastSegment(following []string) bool {
	for _, name := range following {
		if _, ok := parseSegmentName(name); ok {
			return false
		}
	}
	return true
}

// readHeader reads a segment's header. begun is false if it was never
// written in full, which is when nothing follows it either: a header is synced
// before the first frame is written.
func readHeader(fs FS, name string, number uint32) (h segmentHeader, begun bool, err error) {
	file, err := fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return h, false, openError(err)
	}
	defer func() { _ = file.Close() }()
	sector := make([]byte, headerBytes)
	n, err := file.ReadAt(sector, 0)
	if err != nil && err != io.EOF {
		return h, false, openError(err)
	}
	h, headerErr := decodeSegmentHeader(sector[:n], number)
	if headerErr == nil || errors.Is(headerErr, core.CodeStoreNewer) {
		return h, true, headerErr
	}
	empty, err := emptyAfterHeader(file)
	if err != nil {
		return h, false, openError(err)
	}
	if empty {
		return h, false, nil
	}
	return h, true, headerErr
}

func emptyAfterHeader(file File) (bool, error) {
	size, err := file.Size()
	if err != nil {
		return false, err
	}
	w := newWindow(file, size, scanStrideBytes)
	for o := int64(headerBytes); o < size; {
		b, err := w.at(o, scanStrideBytes)
		if err != nil {
			return false, err
		}
		if lastNonZero(b) >= 0 {
			return false, nil
		}
		o += int64(max(len(b), 1))
	}
	return true, nil
}

// checkChain checks that the segments are those of one log, and all of them.
func checkChain(headers []segmentHeader) error {
	for i := range headers {
		h := &headers[i]
		switch {
		case i == 0 && h.number != 1:
			return corrupt(at(h.number, 0), "the segments before this one are missing")
		case i > 0 && h.number != headers[i-1].number+1:
			return corrupt(at(h.number, 0), "a segment before this one is missing")
		case i > 0 && (h.log != headers[0].log || h.key != headers[0].key):
			return corrupt(at(h.number, 0), "the segment is another log's")
		case i > 0 && (h.prevEnd < headerBytes || h.first < headers[i-1].first):
			return corrupt(at(h.number, 0), "the segment header does not follow from the one before")
		case i > 0 && headers[i-1].rewriting.id != 0 && h.prevEnd != headers[i-1].rewriting.end:
			return corrupt(at(h.number, 0), "the segment header and the one before differ in where that ends")
		case i == len(headers)-1 && h.rewriting.id != 0:
			return corrupt(at(h.number, 0), "the segments behind this one are missing")
		}
	}
	return nil
}

// createLog begins a new log with its first segment.
func createLog(fs FS, dir string, segmentBytes int64) (segmentHeader, error) {
	h := segmentHeader{
		version: formatVersion, number: 1, salt: uint32(randomUint64()), log: newWord(identityBytes),
		key: hashKey{randomUint64(), randomUint64()}, first: 1,
	}
	file, err := prepareSegment(fs, dir, 1, segmentBytes, unpaced())
	if err != nil {
		return h, err
	}
	defer func() { _ = file.Close() }()
	return h, beginSegment(file, &h)
}

// recover brings the index up to the log, cuts off what a crash left of the
// last write, and makes ready to write.
func (e *Engine) recover(ctx context.Context, headers []segmentHeader) error {
	v := describe(headers)
	e.index.view.Store(v)
	db := &recordDB{fs: e.fs, dir: e.recordsDir(), log: e.id, key: e.key, logger: e.config.Logger, snapshots: e.dir}
	if err := openRecordDB(db, e.holds); err != nil {
		return err
	}
	e.records = newRecordStore(db, e.config.Logger, e.reachAt)
	total := v.bytesBefore(at(headers[len(headers)-1].number, 0))
	err := e.openIndex(ctx, sealedSegments(headers), func(done int64) { e.config.Progress(done, total) })
	if err != nil {
		return err
	}
	return e.recoverLast(&headers[len(headers)-1])
}

// describe is the view of a log without any index.
func describe(headers []segmentHeader) *view {
	v := &view{segments: make([]segment, len(headers))}
	before := int64(0)
	for i := range headers {
		end := int64(math.MaxInt64)
		if i+1 < len(headers) {
			end = headers[i+1].prevEnd
		}
		v.segments[i] = segment{number: headers[i].number, salt: headers[i].salt, first: headers[i].first, end: end, before: before}
		v.rewrite(&headers[i])
		before += end
	}
	return v
}

// recoverLast finds the end of the log and goes on from there.
func (e *Engine) recoverLast(h *segmentHeader) error {
	file, err := e.fs.OpenFile(filepath.Join(e.logDir(), segmentName(h.number)), os.O_RDWR)
	if err != nil {
		return openError(err)
	}
	r := newReplay(h, e.records)
	t, err := scanTail(file, *h, r.visitor())
	if err == nil {
		err = e.repairTail(file, h, t)
	}
	if err != nil {
		_ = file.Close()
		return openError(err)
	}
	v := e.index.view.Load()
	v.tables = append(v.tables, r.table)
	e.prepare = newPreparer(func(number uint32, p *pace) (File, error) {
		return prepareSegment(e.fs, e.logDir(), number, e.config.SegmentBytes, p)
	})
	e.recovery = newRecovery(e.tryAgain)
	e.appender.onDurable = e.records.publish
	m := mark{end: at(h.number, t.end), frame: r.frame, head: t.next - 1, recorded: max(h.recorded, r.recorded)}
	e.use(file, *h, r.table, m)
	e.records.publishReplayed(m)
	err = e.loadChanged()
	if err == nil {
		err = e.beginTimeline()
	}
	if err != nil {
		e.recovery.close()
		e.prepare.close()
		return err
	}
	e.index.rebuild, e.index.momentAt = e.rebuildRuns, e.momentAt
	e.index.start(e.id, e.records.sealed)
	e.records.start()
	return nil
}

// repairTail makes the disk agree with what was found: the frames that no
// other frame knows to be durable are written once more, and what is behind
// them is filled with zeros. A process that was killed leaves frames that only
// the system's cache has, and after a sync that failed the cache may call them
// written when they are not; readers and retries are about to rely on them.
func (e *Engine) repairTail(file File, h *segmentHeader, t tail) error {
	again := make([]byte, t.end-t.durable)
	if _, err := file.ReadAt(again, t.durable); err != nil && err != io.EOF {
		return err
	}
	if _, err := file.WriteAt(again, t.durable); err != nil {
		return err
	}
	if t.garbage > t.end {
		e.config.Logger.Warn("cutting off a write that was not finished",
			"segment", segmentName(h.number), "at", t.end, "bytes", t.garbage-t.end)
	}
	// Zeros, so that no frame of this write can ever be taken for one of a
	// later write.
	for o := t.end; o < t.garbage; o += int64(len(zeros)) {
		if _, err := file.WriteAt(zeros[:min(int64(len(zeros)), t.garbage-o)], o); err != nil {
			return err
		}
	}
	return file.Datasync()
}

// tryAgain is the recovery's: it goes on in a new segment if the log is stuck.
func (e *Engine) tryAgain() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Load() {
		return nil
	}
	if e.appender.failure() != nil {
		return e.resume()
	}
	if e.recovery.blocked() == nil {
		return nil
	}
	w := &e.writer
	if err := e.appender.syncWritten(); err != nil {
		return err
	}
	if err := e.begin(w.last); err != nil {
		e.recovery.block(err)
		return err
	}
	return nil
}

// replay collects what the frames of a segment say.
type replay struct {
	table    *memtable
	records  *recordStore
	left     uint32
	recorded int64
	frame    offset // the last one
	frameEnd offset
	event    core.Event
}

func newReplay(h *segmentHeader, records *recordStore) *replay {
	return &replay{table: newMemtable(h, 0), records: records, frame: at(h.number, 0)}
}

func (r *replay) visitor() visitor {
	return visitor{
		frame: func(o int64, h *frameHeader) {
			r.left, r.recorded = h.events, h.recorded
			r.frame, r.frameEnd = at(r.table.segment, o), at(r.table.segment, o+h.size())
			r.table.samples.frame(h.first, r.frame)
		},
		event: func(o int64, encoded []byte) error {
			if !decode(encoded, &r.event) {
				return corrupt(at(r.table.segment, o), "an event is malformed")
			}
			err := r.table.addEvent(o, &r.event, r.left)
			r.left--
			return err
		},
		removed: func(o int64, position uint64, s *stub) error {
			r.left--
			if s == nil {
				return nil
			}
			return r.table.addStub(o, position, s)
		},
		record: func(o int64, c recordChange) error {
			r.records.replay(r.frameEnd, c)
			return nil
		},
	}
}
