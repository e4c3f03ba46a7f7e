package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/user"
	"syscall"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// TestDiskFull fills the disk that the tables are on: appends and uploads answer
// store_full, reads go on, and once there is room the store takes appends again by itself. It
// mounts a small file system, which takes root.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	owner, err := user.Lookup("postgres")
	if err != nil || os.Geteuid() != 0 {
		cannot(t, "only root can mount a small disk for the user postgres")
	}
	dir, err := os.MkdirTemp("", "gyre-small-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=12m,mode=0700,uid=%s,gid=%s", owner.Uid, owner.Gid)); err != nil {
		cannot(t, "a small disk cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	server := pgtest.Private(t)
	server.Exec(t, "CREATE TABLESPACE small LOCATION '"+dir+"'")
	engine := openStore(t, postgres.Config{URL: server.URL + "&default_tablespace=small", Store: "small"})

	written := 0
	for err = nil; err == nil && written < 100_000; {
		if err = appendTo(engine, "a", core.AnyVersion, 500).Err; err == nil {
			written += 500
		}
	}
	if !errors.Is(err, core.CodeStoreFull) || !errors.Is(engine.State().ReadOnly, core.CodeStoreFull) {
		t.Fatalf("after %d events: %v, state %v", written, err, engine.State().ReadOnly)
	}
	if log := readLog(t, engine); len(log) != written {
		t.Errorf("%d events, %d were acknowledged", len(log), written)
	}
	module := make([]byte, 5<<20)
	for i := range module {
		module[i] = byte(rand.Uint32())
	}
	if _, _, err := engine.PutBlob(t.Context(), bytes.NewReader(module), core.MaxBlobBytes); !errors.Is(err, core.CodeStoreFull) {
		t.Errorf("an upload: %v", err)
	}
	hasBlob(t, engine, module, false)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	appendWithin(t, engine, time.Second)
	putBlob(t, engine, module)
	hasBlob(t, engine, module, true)
	if err := engine.State().ReadOnly; err != nil {
		t.Errorf("with room again the state is %v", err)
	}
}

// cannot leaves a test out where its machine is not up to it, but not in CI.
func cannot(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
