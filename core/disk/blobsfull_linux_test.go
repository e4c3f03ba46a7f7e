package disk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestUploadToAFullDisk uploads to a real disk that has no room for it: nothing half-done is
// left, nothing else is harmed, and with room the same upload works. It mounts a small file
// system, which takes root.
func TestUploadToAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m,mode=0700"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("a small disk cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	data := filepath.Join(dir, "data")
	e := open(t, Config{Dir: data})
	store := core.NewStore(e, core.StoreConfig{})
	defer store.Close()
	small, large := make([]byte, 1<<20), make([]byte, 8<<20)
	put := func(content []byte) error {
		_, _, err := store.PutBlob(t.Context(), bytes.NewReader(content), core.MaxBlobBytes)
		return err
	}
	files := func() int {
		entries, err := os.ReadDir(filepath.Join(data, "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	if err := put(small); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := put(large); !errors.Is(err, core.CodeStoreFull) {
			t.Fatalf("an upload to a full disk: %v", err)
		}
		if n := files(); n != 1 {
			t.Errorf("%d files are in blobs/", n)
		}
		if _, err := e.Blob(t.Context(), sha256.Sum256(large)); !errors.Is(err, core.CodeBlobNotFound) {
			t.Errorf("the blob that did not fit: %v", err)
		}
		c := core.Commit{Appends: []core.Append{{Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t", Data: []byte("1")}}}}}
		if _, err := store.Append(t.Context(), c); err != nil {
			t.Errorf("an append after it: %v", err)
		}
	}
	if got, err := readBlob(e, sha256.Sum256(small)); err != nil || !bytes.Equal(got, small) {
		t.Errorf("the blob that was there: %d bytes, %v", len(got), err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=32m"); err != nil {
		t.Fatal(err)
	}
	if err := put(large); err != nil {
		t.Errorf("with room: %v", err)
	}
	if got, err := readBlob(e, sha256.Sum256(large)); err != nil || !bytes.Equal(got, large) {
		t.Errorf("with room: %d bytes, %v", len(got), err)
	}
}
