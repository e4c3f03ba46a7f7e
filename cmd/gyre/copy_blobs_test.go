//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
)

// TestCopyOfBlobs copies blobs between the engines, and once more what is there.
func TestCopyOfBlobs(t *testing.T) {
	t.Parallel()
	ends := engineEnds(t)
	contents := [][]byte{{}, []byte("small"), bytes.Repeat([]byte("large"), 1<<20)}
	disk, database, again := ends["disk"](), ends["postgres"](), ends["disk"]()
	withEnd(t, disk, func(log *logEnd) {
		for _, content := range contents {
			if _, _, err := log.blobs.PutBlob(t.Context(), bytes.NewReader(content), core.MaxBlobBytes); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.Append(t.Context(), core.Commit{Appends: []core.Append{{
			Stream: "a", Expect: core.AnyVersion, Events: []core.NewEvent{{Type: "t", Data: []byte("1")}},
		}}}); err != nil {
			t.Fatal(err)
		}
	})
	for _, pair := range [][2]endFlags{{disk, database}, {disk, database}, {database, again}} {
		var out, words strings.Builder
		a := &app{stdout: &out, stderr: &words, timeout: defaultTimeout, output: asJSON}
		if err := a.copy(t.Context(), pair[0], pair[1], verifyFull); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), `"blobs": 3`) || !strings.Contains(words.String(), "3 blobs are in ") {
			t.Errorf("the copy says %s, %s", &out, &words)
		}
		withEnd(t, pair[1], func(log *logEnd) {
			for _, content := range contents {
				r, err := log.blobs.Blob(t.Context(), sha256.Sum256(content))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			}
			if _, err := log.blobs.Blob(t.Context(), [32]byte{1}); !errors.Is(err, core.CodeBlobNotFound) {
				t.Error(err)
			}
		})
	}
}
