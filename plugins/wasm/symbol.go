package wasm

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// frames makes a stack of the runtime one that people read: the names of functions, innermost first,
// without the types of what they take, and those of Rust as they are in the source. Those of the meter
// are left out.
func frames(stack string) string {
	var names []string
	for line := range strings.SplitSeq(strings.TrimSpace(stack), "\n") {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, meterModule+".") {
			names = append(names, frame(line))
		}
	}
	return strings.Join(names, "\n")
}

// frame is the name of the function of a line such as .name(i32,i32) i32.
func frame(line string) string {
	line = strings.TrimPrefix(line, ".") // what is before it is the name of the module, of which there is none
	name := line
	if end := strings.LastIndexByte(line, '('); end > 0 && strings.IndexByte(line[end:], ')') > 0 {
		name = line[:end]
	}
	if isRust(name) {
		name = demangle.Filter(name, demangle.NoParams, demangle.MaxLength(maxSymbolShift))
	}
	return name
}

// maxSymbolShift bounds a name to 1 KiB.
const maxSymbolShift = 10

// isRust reports whether a name is mangled as a compiler of Rust does.
func isRust(name string) bool {
	return strings.HasPrefix(name, "_R") || strings.HasPrefix(name, "_ZN") && strings.Contains(name, "17h")
}
