package architest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// maxFileBytes bounds a file of the repository: what is larger was built, and not written.
const maxFileBytes = 1 << 20

func TestFilesAreSmall(t *testing.T) {
	list, err := exec.Command("git", "ls-files", "-z", "../..").Output()
	if err != nil {
		t.Skip("this is no clone of the repository")
	}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(list, []byte{0}), []byte{0}) {
		info, err := os.Lstat(filepath.FromSlash(string(name)))
		if err == nil && info.Size() > maxFileBytes {
			t.Errorf("%s has %d bytes, at most %d are committed", name, info.Size(), maxFileBytes)
		}
	}
}
