package wasm

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// WithManifest returns a module with a manifest as its section ManifestSection, instead of one
// that it has. A module whose sections cannot be told apart is an *InvalidError.
func WithManifest(module, manifest []byte) ([]byte, error) {
	if !bytes.HasPrefix(module, []byte(header)) {
		return nil, &InvalidError{Reason: "not a WebAssembly 1.0 module", Fix: "build a module, not a component or text"}
	}
	out := append(make([]byte, 0, len(module)+len(manifest)+32), header...)
	for at := len(header); at < len(module); {
		size, n := binary.Uvarint(module[at+1:])
		end := uint64(at) + 1 + uint64(max(n, 0)) + size
		if n <= 0 || size > uint64(len(module)) || end > uint64(len(module)) {
			return nil, &InvalidError{Offset: at, Reason: "a section is longer than the module", Fix: "build it again: the file is cut off"}
		}
		content := module[at+1+n : end]
		if name := appendName(nil, ManifestSection); module[at] != sectionCustom || !bytes.HasPrefix(content, name) {
			out = append(out, module[at:end]...)
		}
		at = int(end)
	}
	return appendSection(out, sectionCustom, slices.Concat(appendName(nil, ManifestSection), manifest)), nil
}
