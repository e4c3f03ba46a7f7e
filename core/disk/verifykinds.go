package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gyre-events/gyre/core"
)

// checkKinds compares the lists of types and categories of each sealed segment with those
// that are made anew. A file that no read would believe is passed over: the next one replaces
// it.
func (v *verifier) checkKinds() error {
	segments := v.engine.index.view.Load().segments
	for i := range segments[:len(segments)-1] {
		if err := v.ctx.Err(); err != nil {
			return core.AsError(err)
		}
		seg := &segments[i]
		if err := v.compareKinds(seg, kindsSeal(seg, &segments[i+1])); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) compareKinds(seg *segment, seal uint32) error {
	e := v.engine
	name := e.kindsName(seg.number)
	file, err := e.fs.OpenFile(name, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return openError(err)
	}
	defer func() { _ = file.Close() }()
	if _, ok := readDirectory(file, seg, seal); !ok {
		return nil
	}
	fresh := newKinds(seg)
	if _, err := e.readOn(v.ctx, fresh, seg, seg.end); err != nil {
		return err
	}
	want := fresh.encode(seg, seal)
	found := make([]byte, len(want)+1)
	n, _ := file.ReadAt(found, 0)
	if !bytes.Equal(found[:n], want) {
		v.add(Problem{"index/" + filepath.Base(name), 0, "the places of types and categories differ from the log", true})
	}
	return nil
}
