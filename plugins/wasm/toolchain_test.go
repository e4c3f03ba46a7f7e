//go:build !race

package wasm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// goGuest handles a batch with the whole Go runtime: goroutines, time, maps, fmt, memory.
const goGuest = `package main

import (
	"fmt"
	"runtime"
	"time"
	"unsafe"
)

//go:wasmimport gyre_1 batch_read
func batchRead(offset int32, into unsafe.Pointer, capacity int32) int32

var buffer [64 << 10]byte

//go:wasmexport gyre_handle
func handle(length, count, attempt int32) int32 {
	n := batchRead(0, unsafe.Pointer(&buffer), int32(len(buffer)))
	done := make(chan string)
	go func() {
		time.Sleep(time.Hour)
		done <- string(buffer[:4])
	}()
	seen := map[string]int{<-done: int(n)}
	fmt.Println(seen, length == n, count, attempt)
	_ = make([]byte, 60<<10)
	runtime.Gosched()
	return 0
}

func main() {}
`

func TestGuestOfTheGoToolchain(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": goGuest, "go.mod": "module guest\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "guest.wasm", ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	guest, err := os.ReadFile(filepath.Join(dir, "guest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	code, err := newCompiler(t, filepath.Join(dir, "code"), "key").Compile(context.Background(), parsed(t, guest))
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewHost(DefaultMemory).Load(context.Background(), code, abi.Handle)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r := &recorder{}
	config := r.config()
	config.Limits = MaxLimits()
	config.Limits.MemoryBytes = 16 << 20
	config.Limits.Time, config.Limits.InitTime = time.Hour, time.Hour // only fuel bounds the test
	var used []int64
	for range 2 {
		in := start(t, p, config)
		var total int64
		for range 400 { // 24 MB of garbage, in 16 MiB of memory
			verdict, fuel, err := in.Call(context.Background(), batchOf(t, 1))
			if verdict != abi.Done || err != nil {
				t.Fatal(verdict, err)
			}
			total += fuel
		}
		used = append(used, total)
		in.Close()
	}
	if used[0] != used[1] {
		t.Errorf("two instances used %d and %d units of fuel for the same batches", used[0], used[1])
	}
	want := "log 1 map[GYB1:112] true 1 1"
	if len(r.lines) != 800 || slices.ContainsFunc(r.lines, func(line string) bool { return strings.TrimSpace(line) != want }) {
		t.Errorf("%d lines like %q, want 800 like %q", len(r.lines), r.lines[:min(1, len(r.lines))], want)
	}
}
