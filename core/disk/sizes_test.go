package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Sizes are those of the files.
func TestSizes(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Config{Dir: dir})
	if _, _, err := e.PutBlob(t.Context(), bytes.NewReader(make([]byte, 1000)), 1<<20); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"index": 10, "records": 20} {
		if err := os.WriteFile(filepath.Join(dir, name, "more"), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = e.Close() }()
	s, err := e.Sizes(t.Context())
	if err != nil || s.Log != e.State().Bytes || s.Blobs < 1000 || s.Index != 10 || s.Records != 20 || s.Database != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
