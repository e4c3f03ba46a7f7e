package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

const (
	kindsMagic       = "GYREKND\x00"
	kindsVersion     = 3 // files of versions 1 and 2 have no blocks
	kindsHeaderBytes = 48
	kindsReadBytes   = 16 << 10 // has the directory of most
)

// kindsSeal tells a sealed segment, which next follows, from what else it may have been.
func kindsSeal(seg, next *segment) uint32 { return next.salt ^ uint32(seg.rewritten) }

func (e *Engine) kindsName(number uint32) string {
	return filepath.Join(e.indexDir(), strings.TrimSuffix(segmentName(number), ".seg")+".kinds")
}

// errReplaced says that a segment was replaced meanwhile.
var errReplaced = errors.New("the segment was replaced")

// writeKinds writes the file of a sealed segment. It need not be durable: its checksums tell
// what is not whole.
func (e *Engine) writeKinds(k *kinds, seg *segment, seal uint32) error {
	name := e.kindsName(seg.number)
	file, err := e.fs.OpenFile(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(k.encode(seg, seal), 0)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = e.nameKinds(name, seg)
	}
	if err != nil {
		_ = e.fs.Remove(name + ".tmp")
	}
	return err
}

// nameKinds gives a file of kinds its name, unless the segment is another one now: the file has
// names that may be removed.
func (e *Engine) nameKinds(name string, seg *segment) error {
	c := e.index.kinds
	c.replacing.Lock()
	defer c.replacing.Unlock()
	if e.index.view.Load().segment(seg.number).rewritten != seg.rewritten {
		return errReplaced
	}
	return e.fs.Rename(name+".tmp", name)
}

func (k *kinds) encode(seg *segment, seal uint32) []byte {
	le := binary.LittleEndian
	all := make([]kind, 0, len(k.lists))
	for of := range k.lists {
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b kind) int {
		if a.category != b.category {
			return a.index() - b.index()
		}
		return strings.Compare(a.name, b.name)
	})
	var names, places []byte
	for _, of := range all {
		names = appendLP(append(names, byte(of.index())), of.name)
		names = binary.AppendUvarint(names, uint64(len(*k.lists[of])))
		for block := range slices.Chunk(*k.lists[of], blockPlaces) {
			from := len(places)
			for _, off := range block {
				places = le.AppendUint32(places, off)
			}
			names = le.AppendUint32(le.AppendUint32(names, block[0]), crc32.Checksum(places[from:], castagnoli))
		}
	}
	b := append(make([]byte, 0, kindsHeaderBytes+len(names)+len(places)), kindsMagic...)
	b = le.AppendUint32(le.AppendUint32(b, kindsVersion), 0) // the checksum
	b = le.AppendUint32(le.AppendUint32(le.AppendUint32(b, seg.number), seg.salt), seal)
	b = le.AppendUint32(b, uint32(len(names)))
	b = le.AppendUint64(b, uint64(k.end))
	for _, many := range k.many {
		n := uint32(0)
		if many {
			n = 1
		}
		b = le.AppendUint32(b, n)
	}
	b = append(b, names...)
	le.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return append(b, places...)
}

// chosenLists are lists of a file; nil where it has none of what was asked for.
type chosenLists struct{ entries []kindEntry }

// bytes is how much memory they take, about.
func (l *chosenLists) bytes() int {
	n := 256 // with the key
	for i := range l.entries {
		n += 96 + len(l.entries[i].name) + len(l.entries[i].blocks)
	}
	return n
}

// readKinds returns the lists of what s selects by, from the file of a segment. ok is false if
// there is no file that is of the segment as it is; the lists are none if the file has no such
// ones. The caller closes them.
func (e *Engine) readKinds(seg *segment, seal uint32, s *core.Selection) (found lists, ok bool) {
	file, err := e.fs.OpenFile(e.kindsName(seg.number), os.O_RDONLY)
	if err != nil {
		return found, false
	}
	key, c := newChosenKey(seg, seal, s), e.index.kinds
	chosen, known := c.chosen.get(key)
	if !known {
		d, ok := readDirectory(file, seg, seal)
		if !ok {
			_ = file.Close()
			return found, false
		}
		chosen = new(chosenLists)
		if entries, ok := d.choose(s); ok {
			chosen.entries = append(make([]kindEntry, 0, len(entries)), entries...)
			for i := range entries {
				chosen.entries[i].blocks = slices.Clone(entries[i].blocks) // of a large directory
			}
		}
		c.chosen.put(key, chosen, chosen.bytes())
	}
	if chosen.entries == nil {
		_ = file.Close()
		return found, true
	}
	open := &kindsFile{File: file, recent: &c.blocks, segment: seg.number, salt: seg.salt, seal: seal}
	found = lists{of: make([]placeList, len(chosen.entries)), file: open}
	for i := range chosen.entries {
		x := &chosen.entries[i]
		found.of[i] = placeList{count: x.count, file: open, entry: x}
	}
	return found, true
}

// kindsFile is a file of kinds whose lists are read.
type kindsFile struct {
	File
	recent              *recent[blockKey, []uint32]
	segment, salt, seal uint32
}

// blockKey is a block at a byte of the file of a segment.
type blockKey struct {
	segment, salt, seal uint32
	at                  int64
}

// errKindsDamaged says that a file is to be made anew.
var errKindsDamaged = errors.New("lists of types and categories are damaged")

// block reads a block of a list.
func (f *kindsFile) block(x *kindEntry, i int) ([]uint32, error) {
	key := blockKey{f.segment, f.salt, f.seal, x.at + 4*int64(i)*blockPlaces}
	if places, ok := f.recent.get(key); ok {
		return places, nil
	}
	b := make([]byte, 4*min(blockPlaces, x.count-i*blockPlaces))
	if n, _ := f.ReadAt(b, key.at); n < len(b) || crc32.Checksum(b, castagnoli) != x.sum(i) {
		return nil, errKindsDamaged
	}
	places := make([]uint32, len(b)/4)
	for j := range places {
		places[j] = binary.LittleEndian.Uint32(b[4*j:])
	}
	f.recent.put(key, places, 64+len(b))
	return places, nil
}

// dropKinds removes the file of a segment that is damaged.
func (e *Engine) dropKinds(segment uint32) {
	c := e.index.kinds
	c.replacing.Lock()
	defer c.replacing.Unlock()
	_ = e.fs.Remove(e.kindsName(segment))
	c.chosen.forget()
	c.blocks.forget()
}

// readDirectory reads and checks the front of a file.
func readDirectory(file File, seg *segment, seal uint32) (d directory, ok bool) {
	b := make([]byte, kindsReadBytes)
	n, _ := file.ReadAt(b, 0)
	if b = b[:n]; n < kindsHeaderBytes {
		return d, false
	}
	le := binary.LittleEndian
	end := kindsHeaderBytes + int64(le.Uint32(b[28:]))
	if size, err := file.Size(); err != nil || end > size {
		return d, false
	}
	if end > int64(n) {
		b = make([]byte, end)
		if n, _ := file.ReadAt(b, 0); int64(n) < end {
			return d, false
		}
	}
	return decodeDirectory(b[:end], seg, seal)
}

func decodeDirectory(b []byte, seg *segment, seal uint32) (d directory, ok bool) {
	le := binary.LittleEndian
	if len(b) < kindsHeaderBytes || string(b[:8]) != kindsMagic || le.Uint32(b[8:]) != kindsVersion || le.Uint32(b[12:]) != crc32.Checksum(b[16:], castagnoli) {
		return d, false
	}
	if le.Uint32(b[16:]) != seg.number || le.Uint32(b[20:]) != seg.salt || le.Uint32(b[24:]) != seal || le.Uint64(b[32:]) != uint64(seg.end) {
		return d, false
	}
	d.many = [2]bool{le.Uint32(b[40:]) != 0, le.Uint32(b[44:]) != 0}
	from := int64(len(b))
	for b = b[kindsHeaderBytes:]; len(b) > 0; {
		x := kindEntry{kind: kind{category: b[0] == 1}, at: from}
		var name []byte
		var count uint64
		if name, b, ok = takeLP(b[1:]); !ok {
			return d, false
		}
		if b, ok = takeUvarint(b, &count); !ok || count > uint64(seg.end)/eventPrefixBytes {
			return d, false
		}
		x.name, x.count = string(name), int(count)
		n := blockEntryBytes * blocksOf(x.count)
		if len(b) < n {
			return d, false
		}
		x.blocks, b = b[:n], b[n:]
		from += 4 * int64(count)
		d.entries = append(d.entries, x)
	}
	return d, true
}
