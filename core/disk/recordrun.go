package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// A run of records has the last change of each record that changed in a part of the
// log, in the order of their names: one immutable file, FORMAT.md "Records". Its blocks
// have checksums; its fences and its Bloom filter are held in memory.
const (
	recordRunMagic   = "GYREREC\x00"
	recordRunVersion = 1
	// recordBlockBytes end a block; the row that reaches them is its last.
	recordBlockBytes = 16 << 10
	// blockPrefixBytes are the checksum and the length that a block begins with.
	blockPrefixBytes = 8
)

// recordRunHeader is the first 4,096 bytes of a run.
type recordRunHeader struct {
	log    string
	from   offset // how far the run before goes; 0 if there is none
	reach  reach  // how far this one goes
	rows   uint64
	logged int64 // bytes of the changes in the log that it is made of
	fences section
	filter section
}

// recordRun is an open run.
type recordRun struct {
	recordRunHeader
	path  string
	file  File
	index []recordFence
	names bloom

	// recordDB.mu protects the fields below.
	readers   int
	retired   bool // another has taken its place: the last reader closes it
	condemned bool // it is damaged
}

// recordFence is a block: its first name, and where it is.
type recordFence struct {
	name []byte
	at   int64
}

// recordRow is what a run has of a record. A revision of 0 says that it is deleted.
type recordRow struct {
	name     []byte
	revision uint64
	value    []byte
}

// recordRunName names a run after the part of the log that it is of.
func recordRunName(from, end offset) string {
	return fmt.Sprintf("%016x-%016x.run", uint64(from), uint64(end))
}

func parseRecordRunName(name string) (from, end offset, ok bool) {
	a, b, ok := strings.Cut(strings.TrimSuffix(name, ".run"), "-")
	x, errA := strconv.ParseUint(a, 16, 64)
	y, errB := strconv.ParseUint(b, 16, 64)
	from, end = offset(x), offset(y)
	return from, end, ok && errA == nil && errB == nil && recordRunName(from, end) == name
}

func (h *recordRunHeader) encode() []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, headerBytes), recordRunMagic...)
	b = le.AppendUint32(b, recordRunVersion)
	b = le.AppendUint32(b, 0) // the checksum
	b = le.AppendUint64(b, uint64(h.from))
	b = h.reach.encode(b)
	b = le.AppendUint64(le.AppendUint64(b, h.rows), uint64(h.logged))
	for _, s := range []section{h.fences, h.filter} {
		b = le.AppendUint64(le.AppendUint64(b, uint64(s.at)), uint64(s.bytes))
		b = le.AppendUint32(b, s.sum)
	}
	b = append(b, byte(len(h.log)))
	b = append(b, h.log...)
	b = b[:headerBytes]
	le.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

func decodeRecordRunHeader(b []byte) (h recordRunHeader, ok bool) {
	le := binary.LittleEndian
	if len(b) != headerBytes || string(b[:8]) != recordRunMagic || le.Uint32(b[8:]) != recordRunVersion || le.Uint32(b[12:]) != crc32.Checksum(b[16:], castagnoli) {
		return h, false
	}
	h.from = offset(le.Uint64(b[16:]))
	h.reach, _ = decodeReach(b[24 : 24+reachBytes])
	b = b[24+reachBytes:]
	h.rows, h.logged = le.Uint64(b), int64(le.Uint64(b[8:]))
	b = b[16:]
	for _, s := range []*section{&h.fences, &h.filter} {
		*s = section{int64(le.Uint64(b)), int64(le.Uint64(b[8:])), le.Uint32(b[16:])}
		b = b[20:]
	}
	n := int(b[0])
	if n > maxLogBytes {
		return h, false
	}
	h.log = string(b[1 : 1+n])
	return h, true
}

// openRecordRun opens a run and loads what is held in memory.
func openRecordRun(fs FS, path string) (*recordRun, error) {
	file, err := fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	r := &recordRun{path: path, file: file}
	if err := r.load(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return r, nil
}

func (r *recordRun) load() error {
	b := make([]byte, headerBytes)
	if err := r.read(b, 0); err != nil {
		return err
	}
	var ok bool
	if r.recordRunHeader, ok = decodeRecordRunHeader(b); !ok {
		return r.damaged(0, "the header")
	}
	size, err := r.file.Size()
	if err != nil {
		return err
	}
	if r.fences.at < headerBytes || r.fences.bytes < 0 || r.filter.at != r.fences.at+r.fences.bytes || r.filter.bytes < 0 || r.filter.at+r.filter.bytes != size {
		return r.damaged(0, "the file does not have the size that the header gives")
	}
	fences, err := r.section(&r.fences)
	if err != nil {
		return err
	}
	if !r.decodeFences(fences) {
		return r.damaged(r.fences.at, "the fences")
	}
	filter, err := r.section(&r.filter)
	if err != nil {
		return err
	}
	if r.names, ok = decodeBloom(filter); !ok {
		return r.damaged(r.filter.at, "the filter")
	}
	return nil
}

func (r *recordRun) section(s *section) ([]byte, error) {
	b := make([]byte, s.bytes)
	if err := r.read(b, s.at); err != nil {
		return nil, err
	}
	if crc32.Checksum(b, castagnoli) != s.sum {
		return nil, r.damaged(s.at, "a section")
	}
	return b, nil
}

// decodeFences takes the fences, which refer to b: lp name | uvarint length of the block.
func (r *recordRun) decodeFences(b []byte) bool {
	o := int64(headerBytes)
	for len(b) > 0 {
		name, rest, ok := takeLP(b)
		var n uint64
		if ok {
			rest, ok = takeUvarint(rest, &n)
		}
		if !ok || n <= blockPrefixBytes || n > uint64(r.fences.at-o) {
			return false
		}
		r.index = append(r.index, recordFence{name, o})
		o += int64(n)
		b = rest
	}
	return o == r.fences.at
}

// read fills b. A run that cannot be read, with a second try, is as good as damaged: what is
// in it can be made anew elsewhere on the disk.
func (r *recordRun) read(b []byte, o int64) error {
	n, err := r.file.ReadAt(b, o)
	if err != nil && err != io.EOF {
		n, err = r.file.ReadAt(b, o)
	}
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		return r.damaged(o, "the end of the file")
	}
	return r.damaged(o, reason(err))
}

// damagedRecords says that a run cannot be believed.
type damagedRecords struct {
	run  *recordRun
	name string
	at   int64
	what string
}

func (r *recordRun) damaged(at int64, what string) error {
	return &damagedRecords{r, filepath.Base(r.path), at, what}
}

func (e *damagedRecords) Error() string {
	return fmt.Sprintf("records/%s is damaged at byte %d: %s", e.name, e.at, e.what)
}

// size is the length of the file.
func (r *recordRun) size() int64 { return r.filter.at + r.filter.bytes }

// blockAt is where the i-th block begins, or where the blocks end.
func (r *recordRun) blockAt(i int) int64 {
	if i < len(r.index) {
		return r.index[i].at
	}
	return r.fences.at
}

// blockOf is the block that has a name, if any has it; -1 if it is before all of them.
func (r *recordRun) blockOf(name []byte) int {
	return sort.Search(len(r.index), func(i int) bool { return bytes.Compare(r.index[i].name, name) > 0 }) - 1
}

// recordBlockSum is the checksum of a block, which covers its place as well.
func recordBlockSum(b []byte, o int64) uint32 {
	return crc32.Update(uint32(o), castagnoli, b[4:])
}

// rowsOfBlock checks a block that was read from o, and takes its rows.
func (r *recordRun) rowsOfBlock(b []byte, o int64) ([]byte, error) {
	if len(b) < blockPrefixBytes || binary.LittleEndian.Uint32(b) != recordBlockSum(b, o) || int(binary.LittleEndian.Uint32(b[4:])) != len(b)-blockPrefixBytes {
		return nil, r.damaged(o, "a block")
	}
	return b[blockPrefixBytes:], nil
}

// takeRecordRow decodes the row that b begins with: uvarint revision | lp name | lp value.
func takeRecordRow(b []byte, row *recordRow) (rest []byte, ok bool) {
	if rest, ok = takeUvarint(b, &row.revision); !ok {
		return b, false
	}
	if row.name, rest, ok = takeLP(rest); !ok {
		return b, false
	}
	row.value, rest, ok = takeLP(rest)
	return rest, ok
}

func (row *recordRow) encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, row.revision)
	return appendLP(appendLP(dst, row.name), row.value)
}

// change is the change that the row stands for. It owns its bytes.
func (row *recordRow) change() recordChange {
	table, key, _ := strings.Cut(string(row.name), "\x00")
	return recordChange{table: table, key: key, revision: row.revision, value: slices.Clone(row.value)}
}

// get finds a record. The row is valid until c is used again.
func (c *recordCursor) get(name []byte, hash uint64) (row *recordRow, err error) {
	if !c.run.names.has(hash) {
		return nil, nil
	}
	if err := c.seek(name); err != nil || c.done || !bytes.Equal(c.row.name, name) {
		return nil, err
	}
	return &c.row, nil
}

// recordCursor goes through the rows of a run. Before the first seek it stands nowhere.
type recordCursor struct {
	run   *recordRun
	row   recordRow // valid until the next call, unless done
	done  bool
	ahead int64 // bytes that are read at once, if a block is not longer

	block int    // that comes next
	rows  []byte // of the block before it that are left
	buf   []byte
	at    int64 // of buf in the file
}

// seek goes to the first row whose name is not before name.
func (c *recordCursor) seek(name []byte) error {
	c.block, c.rows, c.done = max(c.run.blockOf(name), 0), nil, false
	for {
		if err := c.next(); err != nil || c.done || bytes.Compare(c.row.name, name) >= 0 {
			return err
		}
	}
}

func (c *recordCursor) next() error {
	for len(c.rows) == 0 {
		if c.block == len(c.run.index) {
			c.done = true
			return nil
		}
		if err := c.load(c.block); err != nil {
			return err
		}
		c.block++
	}
	rest, ok := takeRecordRow(c.rows, &c.row)
	if !ok {
		return c.run.damaged(c.run.blockAt(c.block-1), "a row")
	}
	c.rows = rest
	return nil
}

// load takes the rows of a block, and reads it and those behind it if need be.
func (c *recordCursor) load(i int) (err error) {
	from, end := c.run.blockAt(i), c.run.blockAt(i+1)
	if from < c.at || end > c.at+int64(len(c.buf)) {
		upTo := end
		for k := i + 2; k <= len(c.run.index) && c.run.blockAt(k)-from <= c.ahead; k++ {
			upTo = c.run.blockAt(k)
		}
		c.buf = slices.Grow(c.buf[:0], int(upTo-from))[:upTo-from]
		if err := c.run.read(c.buf, from); err != nil {
			c.buf = c.buf[:0]
			return err
		}
		c.at = from
	}
	c.rows, err = c.run.rowsOfBlock(c.buf[from-c.at:end-c.at], from)
	return err
}

// check reads all blocks.
func (r *recordRun) check() error {
	c := recordCursor{run: r, ahead: mergeAheadBytes}
	rows, last := uint64(0), []byte(nil)
	for {
		if err := c.next(); err != nil || c.done {
			if err == nil && rows != r.rows {
				err = r.damaged(0, "the number of rows")
			}
			return err
		}
		if last != nil && bytes.Compare(last, c.row.name) >= 0 {
			return r.damaged(r.blockAt(c.block-1), "the order of the rows")
		}
		last = append(last[:0], c.row.name...)
		rows++
	}
}
