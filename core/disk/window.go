package disk

import (
	"fmt"
	"io"
)

// window reads a file in long strides and hands out pieces of what it holds.
type window struct {
	file   io.ReaderAt
	end    int64 // nothing at or behind it is read
	stride int
	buf    []byte
	start  int64 // of buf in the file
}

func newWindow(file io.ReaderAt, end int64, stride int) *window {
	return &window{file: file, end: end, stride: stride}
}

// at gives n bytes from offset o, valid until the next call; fewer if the end
// comes first.
func (w *window) at(o int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(w.end-o, 0)))
	if n == 0 {
		return []byte{}, nil
	}
	if o >= w.start && o+int64(n) <= w.start+int64(len(w.buf)) {
		return w.buf[o-w.start:][:n], nil
	}
	want := int(min(int64(max(n, w.stride)), w.end-o))
	if cap(w.buf) < want {
		w.buf = make([]byte, max(want, w.stride))
	}
	w.buf = w.buf[:want]
	w.start = o
	got, err := w.file.ReadAt(w.buf, o)
	w.buf = w.buf[:got]
	if got < n {
		if err == nil || err == io.EOF {
			return w.buf, nil
		}
		w.buf = w.buf[:0]
		return nil, fmt.Errorf("read log: %w", err)
	}
	return w.buf[:n], nil
}
