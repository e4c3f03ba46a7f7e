package wasm

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gyre-events/gyre/core"
)

// Where the system forbids memory to become executable, plugins are refused with the reason,
// and not interpreted. The test runs itself as a process that has forbidden it.
func TestPluginsAreRefusedWithoutNativeCode(t *testing.T) {
	const variable = "GYRE_TEST_NO_NATIVE_CODE"
	const setMDWE, refuseExecGain = 65, 1 // of linux/prctl.h, since Linux 6.3
	if os.Getenv(variable) == "" {
		if err := Supported(); err != nil {
			t.Errorf("on this machine: %v", err)
		}
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		child.Env = append(os.Environ(), variable+"=1")
		out, err := child.CombinedOutput()
		if strings.Contains(string(out), "--- SKIP") {
			t.Skip("this system cannot forbid it")
		}
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	if err := unix.Prctl(setMDWE, refuseExecGain, 0, 0, 0); err != nil {
		t.Skip(err)
	}
	err := Supported()
	if !errors.Is(err, core.CodeNotSupported) || !strings.Contains(err.Error(), "plugins cannot run on this machine") {
		t.Errorf("got %v, want not_supported with the reason", err)
	}
	if _, err := NewHost(DefaultMemory).Load(t.Context(), &Code{}, "x"); !errors.Is(err, core.CodeNotSupported) {
		t.Errorf("Load: %v, want not_supported", err)
	}
}
