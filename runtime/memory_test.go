package runtime

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
)

func TestAvailableMemory(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 30))
	if n := availableMemory(); n != 1<<30 {
		t.Errorf("with GOMEMLIMIT=1GiB: %d", n)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if n := availableMemory(); n < 0 || n >= 1<<50 {
		t.Errorf("without: %d", n)
	}
}

func TestMemoryOfMachineAndGroup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write := func(text string) string {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	if n := machineMemory(write("MemFree: 1 kB\nMemTotal:        8042476 kB\n")); n != 8042476<<10 {
		t.Errorf("a machine of %d", n)
	}
	for text, want := range map[string]int64{"536870912\n": 512 << 20, "max\n": 0, "": 0} {
		if n := numberIn(write(text)); n != want {
			t.Errorf("%q is %d", text, n)
		}
	}
	for text, want := range map[string][]string{
		"0::/\n":               {"/r/memory.max"},
		"0::/a/b\n":            {"/r/a/b/memory.max", "/r/a/memory.max", "/r/memory.max"},
		"4:memory:/a\n1:x:/\n": {"/r/memory/a/memory.limit_in_bytes", "/r/memory/memory.limit_in_bytes"},
		"not one\n":            nil,
	} {
		if files := groupFiles(write(text), "/r"); !slices.Equal(files, want) {
			t.Errorf("%q: %q", text, files)
		}
	}
	if groupFiles("/nowhere", "/r") != nil || numberIn("/nowhere") != 0 || machineMemory("/nowhere") != 0 {
		t.Error("what is not there has a limit")
	}
}
