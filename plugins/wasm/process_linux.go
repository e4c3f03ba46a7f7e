package wasm

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// limitProcess bounds what this process may use from now on, and lets others run first. Go
// has reserved addresses when it started, so memory comes on top of what there is.
func limitProcess(limits childLimits) error {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var pages uint64
	if _, err := fmt.Fscan(bytes.NewReader(statm), &pages); err != nil {
		return err
	}
	addresses := pages*uint64(os.Getpagesize()) + limits.Memory
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: addresses, Max: addresses}); err != nil {
		return err
	}
	// Go ignores the signal of the soft limit; the hard one, a second later, kills.
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: limits.CPU, Max: limits.CPU + 1}); err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, 10)
}
