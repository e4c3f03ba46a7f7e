// Package secret reads files with keys, and with secrets by their names, which only their user may
// read.
package secret

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Exposed is the error of a file that somebody else can read or replace.
type Exposed struct {
	Why string
	Fix string // a command
}

// Error has both.
func (e *Exposed) Error() string { return e.Why + "; use: " + e.Fix }

// Read returns the content of a file with a secret. The file belongs to root or to the user of
// the process, and nobody else may read or write it; of root's file a group may. Another one is
// Exposed. A file with more than most bytes is an error, too.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	// A terminal keeps nothing.
	if info.Mode()&fs.ModeCharDevice == 0 {
		if err := check(path, info); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1)) // it may be a device
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return text, err
}
