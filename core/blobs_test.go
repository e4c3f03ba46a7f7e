package core_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

func putBlob(ctx context.Context, store *core.Store, r io.Reader, limit int64) error {
	_, _, err := store.PutBlob(ctx, r, limit)
	return err
}

// TestStoreBoundsBlobs: no blob passes MaxBlobBytes, whatever limit a caller has.
func TestStoreBoundsBlobs(t *testing.T) {
	store := openStore(t, core.StoreConfig{})
	var coded *core.Error
	err := putBlob(t.Context(), store, bytes.NewReader(make([]byte, core.MaxBlobBytes+1)), 1<<40)
	if !errors.As(err, &coded) || coded.Code != core.CodeBlobTooLarge || coded.Limit != core.MaxBlobBytes {
		t.Errorf("too large: %v", err)
	}
	if err := putBlob(t.Context(), store, bytes.NewReader(make([]byte, core.MaxBlobBytes)), 1<<40); err != nil {
		t.Errorf("the largest: %v", err)
	}
	if err := putBlob(t.Context(), store, strings.NewReader(""), -1); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("a negative limit: %v", err)
	}
	if err := store.SweepBlobs(t.Context(), nil, -1); !errors.Is(err, core.CodeInvalidRequest) {
		t.Errorf("a negative age: %v", err)
	}
	if ids, err := store.ListBlobs(t.Context(), [32]byte{}, 0); err != nil || len(ids) != 1 {
		t.Errorf("%d blobs, %v", len(ids), err)
	}
}

// TestStoreTakesFewBlobsAtATime: an upload waits while two are under way, for as long as its
// caller does, or until the Store closes.
func TestStoreTakesFewBlobsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := core.NewStore(memory.New(), core.StoreConfig{})
		answers := make(chan error)
		var slow [2]*io.PipeWriter
		for i := range slow {
			r, w := io.Pipe()
			slow[i] = w
			go func() { answers <- putBlob(t.Context(), store, r, 10) }()
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { answers <- putBlob(ctx, store, strings.NewReader("third"), 10) }()
		synctest.Wait()
		cancel()
		if err := <-answers; !errors.Is(err, core.CodeCanceled) {
			t.Errorf("the third: %v", err)
		}
		if err := slow[0].Close(); err != nil {
			t.Error(err)
		}
		if err := <-answers; err != nil {
			t.Errorf("a slow one: %v", err)
		}
		if err := putBlob(t.Context(), store, strings.NewReader("fourth"), 10); err != nil {
			t.Errorf("with room again: %v", err)
		}
		r, w := io.Pipe()
		go func() { answers <- putBlob(t.Context(), store, r, 10) }()
		synctest.Wait()
		go func() { answers <- putBlob(t.Context(), store, strings.NewReader("sixth"), 10) }()
		synctest.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		if err := <-answers; !errors.Is(err, core.CodeStoreClosed) {
			t.Errorf("while it closes: %v", err)
		}
		for _, w := range []*io.PipeWriter{slow[1], w} {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if err := <-answers; !errors.Is(err, core.CodeStoreClosed) {
				t.Errorf("a slow one of a closed store: %v", err)
			}
		}
	})
}

// TestStoreThatCannotWriteTakesNoBlobs: the reader is not touched, and what is there can be
// read.
func TestStoreThatCannotWriteTakesNoBlobs(t *testing.T) {
	engine := &full{Engine: memory.New()}
	store := core.NewStore(engine, core.StoreConfig{})
	defer store.Close()
	id, _, err := store.PutBlob(t.Context(), strings.NewReader("content"), 10)
	if err != nil {
		t.Fatal(err)
	}
	engine.is = true
	if err := putBlob(t.Context(), store, nil, 10); !errors.Is(err, core.CodeStoreFull) {
		t.Errorf("put: %v", err)
	}
	r, err := store.Blob(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(r); err != nil || string(content) != "content" {
		t.Errorf("read: %q, %v", content, err)
	}
}

// full is an engine whose disk may be full.
type full struct {
	core.Engine
	is bool
}

func (f *full) State() core.State {
	s := f.Engine.State()
	if f.is {
		s.ReadOnly = core.Errorf(core.CodeStoreFull, "no space left")
	}
	return s
}
