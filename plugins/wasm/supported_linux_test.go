package wasm

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gyre-events/gyre/core"
)

// Where the system forbids memory to become executable, plugins are refused with the reason,
// and not interpreted. The test runs itself as a process that has forbidden it.
func TestPluginsAreRefusedWithoutNativeCode(t *testing.T) {
	const variable = "GYRE_TEST_NO_NATIVE_CODE"
	if os.Getenv(variable) == "" {
		if err := Supported(); err != nil {
			t.Errorf("on this machine: %v", err)
		}
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), variable+"=1")
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	if err := forbidNativeCode(); err != nil {
		t.Fatal(err)
	}
	err := Supported()
	if !errors.Is(err, core.CodeNotSupported) || !strings.Contains(err.Error(), "plugins cannot run on this machine") {
		t.Errorf("got %v, want not_supported with the reason", err)
	}
	if _, err := NewHost(DefaultMemory).Load(t.Context(), &Code{}, "x"); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("Load: %v, want not_supported", err)
	}
}

// forbidNativeCode has the kernel refuse mprotect to make memory executable in this process, as
// systemd's MemoryDenyWriteExecute does.
func forbidNativeCode() error {
	const number, protection = 0, 32 // offsets in struct seccomp_data: the call, and its third argument
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MPROTECT, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: protection},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.PROT_EXEC, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	runtime.LockOSThread() // of which alone it is set
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// For all threads, which get no_new_privs with the filter.
	_, _, failed := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if failed != 0 {
		return failed
	}
	return nil
}
