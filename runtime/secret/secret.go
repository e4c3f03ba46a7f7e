// Package secret reads files that only the node may read, such as the key of a certificate.
package secret

import (
	"fmt"
	"io"
	"os"
)

// Read returns the content of a file with a secret. It refuses a file that others can read,
// and one with more than most bytes.
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
	if othersRead(info) {
		return nil, fmt.Errorf("others can read %s, whose mode is %04o; use: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1)) // it may be a device
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return text, err
}
