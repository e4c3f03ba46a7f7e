package disk

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/core"
)

// A kind is an event type or a category of streams. The kinds of a segment say where its
// events of each are, so that a read that selects events reads those alone. They are made
// by the first such read, from the segment: in memory for the segment that is written,
// which is read on from where it was read to, and as a file for the others (FORMAT.md,
// "Kinds"). Appends know nothing of them.
type kinds struct {
	segment   uint32
	rewritten uint64             // as the segment was then
	lists     map[kind]*[]uint32 // where the events are in the segment, in order; links are left out
	many      [2]bool            // by kind.category: there are more than maxKinds, and no lists
	counts    [2]int             // of lists
	end       int64              // everything before it in the segment is in the lists
	next      uint64             // the position of the event that comes then
}

// kind is a type, or a category.
type kind struct {
	category bool
	name     string
}

// maxKinds bounds the types of a segment that have lists, and the categories. A log where
// each stream is a category of its own has too many for lists to be of use.
const maxKinds = 4096

func (k kind) index() int {
	if k.category {
		return 1
	}
	return 0
}

// newKinds returns those of a segment of which nothing was read.
func newKinds(seg *segment) *kinds {
	return &kinds{segment: seg.number, rewritten: seg.rewritten, lists: make(map[kind]*[]uint32), end: headerBytes, next: seg.first}
}

// add adds an event. The name in of may be in a buffer that changes when add has returned, so
// the map is not assigned to under it: that would keep the name as the key.
func (k *kinds) add(of kind, off uint32) {
	if k.many[of.index()] {
		return
	}
	list := k.lists[of]
	if list == nil {
		if k.counts[of.index()] == maxKinds {
			k.many[of.index()] = true
			for other := range k.lists {
				if other.category == of.category {
					delete(k.lists, other)
				}
			}
			return
		}
		k.counts[of.index()]++
		of.name = strings.Clone(of.name)
		list = new([]uint32)
		k.lists[of] = list
	}
	*list = append(*list, off)
}

// kindsStore has the kinds of an engine's segments.
type kindsStore struct {
	mu sync.Mutex // held while a segment is replaced, too
	// mu protects the fields below.
	newest *kinds // of the segment that was read last of those without a file
	failed bool   // a file could not be written; no other is tried

	recent recentLists
}

// recentLists keeps lists that were read from files, for the pages that come next.
type recentLists struct {
	mu    sync.Mutex
	lists map[listsKey]lists
	bytes int // of the lists
}

// listsKey is what lists were read for.
type listsKey struct {
	segment, salt, seal uint32
	category, types     string
}

// maxRecentBytes bounds the lists that are kept. When there are more, all are dropped.
const maxRecentBytes = 8 << 20

func newListsKey(seg *segment, seal uint32, s *core.Selection) listsKey {
	return listsKey{seg.number, seg.salt, seal, s.Category, strings.Join(s.Filter.Types, "\x00")}
}

func (r *recentLists) get(key listsKey) (lists, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.lists[key]
	return found, ok
}

func (r *recentLists) put(key listsKey, found lists) {
	bytes := 256 // of the key
	for _, list := range found {
		bytes += 4 * len(list)
	}
	if bytes > maxRecentBytes/4 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lists == nil || r.bytes+bytes > maxRecentBytes {
		r.lists, r.bytes = make(map[listsKey]lists), 0
	}
	r.lists[key] = found
	r.bytes += bytes
}

// lists are the places of events of some kinds in a segment.
type lists [][]uint32

// kindLists returns the lists of what r selects by in a segment, up to end. ok is false if it
// has none.
func (e *Engine) kindLists(ctx context.Context, seg *segment, seal uint32, end int64, s *core.Selection) (found lists, ok bool, err error) {
	sealed := seg.sealed()
	c := &e.index.kinds
	if sealed {
		key := newListsKey(seg, seal, s)
		found, ok := c.recent.get(key)
		if !ok {
			if found, ok = e.readKinds(seg, seal, s); ok {
				c.recent.put(key, found)
			}
		}
		if ok {
			return found, found != nil, nil
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if sealed && (c.failed || e.index.view.Load().segment(seg.number).rewritten != seg.rewritten) {
		return nil, false, nil
	}
	if c.newest == nil || c.newest.segment != seg.number || c.newest.rewritten != seg.rewritten {
		c.newest = newKinds(seg)
	}
	if err := e.readOn(ctx, c.newest, seg, end); err != nil {
		c.newest = nil
		return nil, false, err
	}
	if sealed {
		if err := e.writeKinds(c.newest, seg, seal); err != nil {
			c.failed = true
			e.config.Logger.Warn("an index of types and categories cannot be written; reads that select events scan the log", "error", err)
		}
	}
	found, ok = c.newest.choose(s)
	return found, ok, nil
}

// readOn adds the events up to end.
func (e *Engine) readOn(ctx context.Context, k *kinds, seg *segment, end int64) error {
	if k.end >= end {
		return nil
	}
	file, err := e.files.acquire(seg.number)
	if err != nil {
		return cannotRead(err)
	}
	defer e.files.release(file)
	visit := visitor{event: func(off int64, encoded []byte) error {
		var ev core.Event
		if !decode(encoded, &ev) {
			return corrupt(at(seg.number, off), "an event is malformed")
		}
		if isEvent(&ev) {
			k.add(kind{false, ev.Type}, uint32(off))
			k.add(kind{true, core.CategoryOf(ev.Stream)}, uint32(off))
		}
		return ctx.Err()
	}}
	s := newScanner(file, end, segmentHeader{number: seg.number, salt: seg.salt, first: seg.first}, visit)
	s.at, s.next = k.end, k.next
	err = s.scan()
	k.end, k.next = s.at, s.next
	switch {
	case ctx.Err() != nil:
		return core.AsError(ctx.Err())
	case err != nil:
		return err
	case s.at < end:
		return corrupt(at(seg.number, s.at), "%s", s.invalid)
	}
	return nil
}

// choose returns the shortest lists that have all events that s selects. Of those in memory,
// what they have now does not change.
func (k *kinds) choose(s *core.Selection) (lists, bool) {
	d := directory{many: k.many}
	for of, list := range k.lists {
		d.entries = append(d.entries, kindEntry{kind: of, count: len(*list)})
	}
	entries, ok := d.choose(s)
	if !ok {
		return nil, false
	}
	found := make(lists, len(entries))
	for i, x := range entries {
		found[i] = *k.lists[x.kind]
	}
	return found, true
}

// directory is which lists a segment has.
type directory struct {
	entries []kindEntry
	many    [2]bool
}

type kindEntry struct {
	kind
	count int
	at    int64 // in the file
	sum   uint32
}

// choose returns the entries of the shortest lists that have all events that s selects.
func (d *directory) choose(s *core.Selection) (chosen []kindEntry, ok bool) {
	var of [2][]kindEntry
	var count [2]int
	for _, x := range d.entries {
		i := x.index()
		if x.category && x.name == s.Category || !x.category && core.MatchAny(s.Filter.Types, x.name) {
			of[i] = append(of[i], x)
			count[i] += x.count
		}
	}
	types, categories := len(s.Filter.Types) > 0 && !d.many[0], s.Category != "" && !d.many[1]
	switch {
	case types && (!categories || count[0] <= count[1]):
		return of[0], true
	case categories:
		return of[1], true
	}
	return nil, false
}

const (
	kindsMagic       = "GYREKND\x00"
	kindsVersion     = 2 // files of version 1 may have lists under wrong names
	kindsHeaderBytes = 48
	kindsReadBytes   = 16 << 10 // has the directory of most
)

// kindsSeal tells a sealed segment, which next follows, from what else it may have been.
func kindsSeal(seg, next *segment) uint32 { return next.salt ^ uint32(seg.rewritten) }

func (e *Engine) kindsName(number uint32) string {
	return filepath.Join(e.indexDir(), strings.TrimSuffix(segmentName(number), ".seg")+".kinds")
}

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
		err = e.fs.Rename(name+".tmp", name)
	}
	if err != nil {
		_ = e.fs.Remove(name + ".tmp")
	}
	return err
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
		from := len(places)
		for _, off := range *k.lists[of] {
			places = le.AppendUint32(places, off)
		}
		names = appendLP(append(names, byte(of.index())), of.name)
		names = binary.AppendUvarint(names, uint64(len(*k.lists[of])))
		names = le.AppendUint32(names, crc32.Checksum(places[from:], castagnoli))
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

// readKinds returns the lists of what s selects by, from the file of a segment. ok is false if
// there is no file that is of the segment as it is; found is nil if the file has no such lists.
func (e *Engine) readKinds(seg *segment, seal uint32, s *core.Selection) (found lists, ok bool) {
	file, err := e.fs.OpenFile(e.kindsName(seg.number), os.O_RDONLY)
	if err != nil {
		return nil, false
	}
	defer func() { _ = file.Close() }()
	d, ok := readDirectory(file, seg, seal)
	if !ok {
		return nil, false
	}
	entries, chosen := d.choose(s)
	if !chosen {
		return nil, true
	}
	found = make(lists, 0, len(entries))
	for _, x := range entries {
		b := make([]byte, 4*x.count)
		if n, _ := file.ReadAt(b, x.at); n < len(b) || crc32.Checksum(b, castagnoli) != x.sum {
			return nil, false
		}
		list := make([]uint32, x.count)
		for i := range list {
			list[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		found = append(found, list)
	}
	return found, true
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
		if b, ok = takeUvarint(b, &count); !ok || len(b) < 4 || count > uint64(seg.end)/eventPrefixBytes {
			return d, false
		}
		x.name, x.count, x.sum = string(name), int(count), le.Uint32(b)
		b = b[4:]
		from += 4 * int64(count)
		d.entries = append(d.entries, x)
	}
	return d, true
}
