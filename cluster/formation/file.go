package formation

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// fileEvery is the pause between two looks at a file.
const fileEvery = 2 * time.Second

// File is a provider of the addresses in a file, which may change. A host without a port
// has the one given. A file that cannot be read, has no address or something else than
// addresses is taken for one that is being written.
func File(name, path, port string) Provider {
	return Provider{Name: name, Every: fileEvery, Find: func(context.Context) ([]string, error) {
		text, err := readFile(path)
		if err != nil {
			return nil, err // it names the file
		}
		list, err := addresses(text, port)
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return list, err
	}}
}

// readFile reads a file up to a byte more than maxText. A pipe or a device, which may have
// no end, is refused.
func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: it is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxText+1))
	return string(text), err
}
