package disk

import (
	"errors"
	"io/fs"
	"os"
)

// reason is what the operating system said, without the path it said it of.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Op + ": " + p.Err.Error()
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Op + ": " + l.Err.Error()
	}
	return err.Error()
}

func errorsIsAny(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}
