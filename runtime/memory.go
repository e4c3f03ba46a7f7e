package runtime

import (
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// minConnectionMemory is a few of the largest messages.
const minConnectionMemory = 16 << 20

// connectionMemoryPart is the part of the memory that connections may fill by default.
// The rest is for events, indexes and the collector.
const connectionMemoryPart = 4

// connectionMemory is the default of Load.ConnectionMemory; 0 leaves it to wsapi.
func connectionMemory() int64 {
	available := availableMemory()
	if available == 0 {
		return 0
	}
	return max(available/connectionMemoryPart, minConnectionMemory)
}

// availableMemory is what this process may use: GOMEMLIMIT, or else the limit of its
// control group, or else the machine's memory; 0 if nothing says it.
func availableMemory() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
	}
	least := machineMemory("/proc/meminfo")
	for _, file := range groupFiles("/proc/self/cgroup", "/sys/fs/cgroup") {
		if n := numberIn(file); n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// groupFiles are the files that have the memory limits of a process's control group and
// of those around it, of version 2 or 1.
func groupFiles(self, root string) (files []string) {
	text, err := os.ReadFile(self)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, name := root, "memory.max"
		switch {
		case fields[0] == "0" && fields[1] == "":
		case fields[1] == "memory":
			dir, name = path.Join(root, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(dir, group, name))
			if group == "/" {
				break
			}
		}
	}
	return files
}

// numberIn is the number in a file; 0 if there is none.
func numberIn(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// machineMemory is the MemTotal of /proc/meminfo in bytes; 0 if there is none.
func machineMemory(file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64); err == nil {
				return n << 10
			}
		}
	}
	return 0
}
