package disk

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// faultFS is a file system in memory that fails on demand and loses power: it
// knows what of each file and directory would be left.
type faultFS struct {
	mu    sync.Mutex
	names map[string]*faultFile // as running programs see it
	disk  map[string]*faultFile // as it would be after a crash, apart from luck
	locks map[any]bool

	calls int // that change something, so far
	// fault is asked before each such call; it may fail it. Writes that fail
	// have written half.
	fault func(call int, op, name string) error
	dead  bool // power is gone

	renamed []renamedDir // in order
}

const sectorBytes = 4096

// faultFile is a file's contents. unsynced has, for each sector that was
// written since the last sync, what is on the disk instead.
type faultFile struct {
	data     []byte
	unsynced map[int64][]byte
	size     int64 // on the disk
}

var errPowerLoss = errors.New("power loss")

func newFaultFS() *faultFS {
	return &faultFS{names: map[string]*faultFile{}, disk: map[string]*faultFile{}, locks: map[any]bool{}}
}

// change counts a call and decides its fate. It must be called with mu held.
func (f *faultFS) change(op, name string) error {
	if f.dead {
		return errPowerLoss
	}
	f.calls++
	if f.fault != nil {
		return f.fault(f.calls, op, name)
	}
	return nil
}

func (f *faultFS) OpenFile(name string, flag int) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file := f.names[name]
	switch {
	case file == nil && flag&os.O_CREATE == 0:
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case file == nil || flag&os.O_TRUNC != 0:
		if err := f.change("create", name); err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		file = &faultFile{unsynced: map[int64][]byte{}}
		f.names[name] = file
	}
	return &faultHandle{f, name, file}, nil
}

func (f *faultFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("rename", to); err != nil {
		return err
	}
	file := f.names[from]
	if file == nil {
		return f.renameDir(from, to)
	}
	delete(f.names, from)
	f.names[to] = file
	return nil
}

// renameDir renames a folder whose files are durable. It is durable once the folder it is in is
// synced.
func (f *faultFS) renameDir(from, to string) error {
	move := func(files map[string]*faultFile) (found bool) {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if base, ok := strings.CutPrefix(name, from+"/"); ok {
				files[filepath.Join(to, base)], found = files[name], true
				delete(files, name)
			}
		}
		return found
	}
	if !move(f.names) {
		return syscall.ENOENT
	}
	f.renamed = append(f.renamed, renamedDir{filepath.Dir(to), func() { move(f.disk) }})
	return nil
}

// renamedDir is a folder in dir whose new name is not durable yet.
type renamedDir struct {
	dir     string
	persist func()
}

// persistDirs takes new names of folders in dir to the disk, those that luck wants.
func (f *faultFS) persistDirs(dir string, luck func() bool) {
	f.renamed = slices.DeleteFunc(f.renamed, func(r renamedDir) bool {
		if r.dir != dir || !luck() {
			return false
		}
		r.persist()
		return true
	})
}

func (f *faultFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("remove", name); err != nil {
		return err
	}
	delete(f.names, name)
	return nil
}

func (f *faultFS) Link(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("link", to); err != nil {
		return err
	}
	if f.names[from] == nil {
		return syscall.ENOENT
	}
	if f.names[to] != nil {
		return syscall.EEXIST
	}
	f.names[to] = f.names[from]
	return nil
}

func (f *faultFS) List(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.names {
		if below, ok := strings.CutPrefix(name, dir+"/"); ok {
			base, _, _ := strings.Cut(below, "/")
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (f *faultFS) MakeDir(string) error { return nil }

func (f *faultFS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.change("syncdir", dir); err != nil {
		return err
	}
	f.persistDirs(dir, func() bool { return true })
	f.persist(dir, func() bool { return true })
	return nil
}

// persist takes changes of names in dir to the disk, those that luck wants.
func (f *faultFS) persist(dir string, luck func() bool) {
	in := func(name string) bool { return filepath.Dir(name) == dir }
	for _, name := range slices.Sorted(maps.Keys(f.names)) {
		if in(name) && f.disk[name] != f.names[name] && luck() {
			f.disk[name] = f.names[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.disk)) {
		if in(name) && f.names[name] == nil && luck() {
			delete(f.disk, name)
		}
	}
}

func (f *faultFS) Lock(name string, note bool) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var key any = name
	if file := f.names[name]; file != nil {
		key = file
	} else if !note && filepath.Ext(name) != "" { // no folder
		return nil, os.ErrNotExist
	}
	if f.locks[key] {
		return nil, errLocked
	}
	f.locks[key] = true
	return unlocker{f, key}, nil
}

type unlocker struct {
	fs  *faultFS
	key any // a file or a name
}

func (u unlocker) Close() error {
	u.fs.mu.Lock()
	defer u.fs.mu.Unlock()
	delete(u.fs.locks, u.key)
	return nil
}

// crash is the file system that is found after power was lost now: of what was
// not synced, luck decides what is there, sector by sector.
func (f *faultFS) crash(random *rand.Rand) *faultFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	// Each crash has a mood, so that all and nothing come up as well.
	mood := random.IntN(4)
	luck := func() bool {
		switch mood {
		case 0:
			return false
		case 1:
			return true
		}
		return random.IntN(2) == 0
	}
	for _, r := range slices.Clone(f.renamed) {
		f.persistDirs(r.dir, luck)
	}
	if len(f.renamed) == 0 {
		for _, dir := range f.dirs() {
			f.persist(dir, luck)
		}
	}
	after := newFaultFS()
	copied := map[*faultFile]*faultFile{}
	for _, name := range slices.Sorted(maps.Keys(f.disk)) {
		file := f.disk[name]
		if copied[file] == nil {
			copied[file] = file.afterCrash(luck)
		}
		after.names[name], after.disk[name] = copied[file], copied[file]
	}
	return after
}

func (f *faultFS) dirs() []string {
	set := map[string]bool{}
	for name := range f.names {
		set[filepath.Dir(name)] = true
	}
	for name := range f.disk {
		set[filepath.Dir(name)] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func (file *faultFile) afterCrash(luck func() bool) *faultFile {
	data := slices.Clone(file.data)
	for _, sector := range slices.Sorted(maps.Keys(file.unsynced)) {
		if !luck() {
			copy(data[sector*sectorBytes:], file.unsynced[sector])
		}
	}
	if int64(len(data)) > file.size && !luck() {
		data = data[:file.size]
	}
	return &faultFile{data: data, unsynced: map[int64][]byte{}, size: int64(len(data))}
}

// faultHandle is an open file.
type faultHandle struct {
	fs   *faultFS
	name string
	file *faultFile
}

func (h *faultHandle) ReadAt(b []byte, o int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if o >= int64(len(h.file.data)) {
		return 0, io.EOF
	}
	n := copy(b, h.file.data[o:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (h *faultHandle) WriteAt(b []byte, o int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.fs.change("write", h.name)
	if err != nil {
		b = b[:len(b)/2]
		if h.fs.dead {
			b = nil
		}
	}
	h.file.write(b, o)
	if err != nil {
		return len(b), &os.PathError{Op: "write", Path: h.name, Err: err}
	}
	return len(b), nil
}

func (file *faultFile) write(b []byte, o int64) {
	if len(b) == 0 {
		return
	}
	if grow := o + int64(len(b)) - int64(len(file.data)); grow > 0 {
		file.data = append(file.data, make([]byte, grow)...)
	}
	for sector := o / sectorBytes; sector <= (o+int64(len(b))-1)/sectorBytes; sector++ {
		if _, ok := file.unsynced[sector]; !ok {
			at := sector * sectorBytes
			file.unsynced[sector] = slices.Clone(file.data[at:min(at+sectorBytes, int64(len(file.data)))])
			if at >= file.size {
				clear(file.unsynced[sector])
			}
		}
	}
	copy(file.data[o:], b)
}

func (h *faultHandle) Sync() error     { return h.sync("sync") }
func (h *faultHandle) Datasync() error { return h.sync("sync") }

func (h *faultHandle) sync(op string) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.change(op, h.name); err != nil {
		return &os.PathError{Op: op, Path: h.name, Err: err}
	}
	clear(h.file.unsynced)
	h.file.size = int64(len(h.file.data))
	return nil
}

func (h *faultHandle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.file.data)), nil
}

func (h *faultHandle) Close() error { return nil }

// set replaces a file's contents, as damage would.
func (f *faultFS) set(name string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names[name] = &faultFile{data: slices.Clone(data), unsynced: map[int64][]byte{}, size: int64(len(data))}
	f.disk[name] = f.names[name]
}

func (f *faultFS) contents(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.names[name]; file != nil {
		return slices.Clone(file.data)
	}
	return nil
}

// clone is a copy of everything, all of it on the disk.
func (f *faultFS) clone() *faultFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := newFaultFS()
	for name, file := range f.names {
		data := slices.Clone(file.data)
		c.names[name] = &faultFile{data: data, unsynced: map[int64][]byte{}, size: int64(len(data))}
		c.disk[name] = c.names[name]
	}
	return c
}

// find lists the files whose names have a part.
func (f *faultFS) find(part string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []string
	for name := range f.names {
		if strings.Contains(name, part) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}
