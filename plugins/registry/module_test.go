package registry_test

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// module assembles small modules, which a test with the race detector compiles in milliseconds.
type module struct {
	imports  []imported
	entry    string // gyre_handle if empty
	body     []byte // of it, an expression of an i32
	noHandle bool
	pages    uint64
	manifest string
	salt     string // makes another module of the same code
}

// imported is a function of gyre_1, by its parameters and its result.
type imported struct {
	name   string
	params []byte
	result []byte
}

const (
	i32 = 0x7f
	i64 = 0x7e
)

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func text(s string) []byte { return append(uleb(uint64(len(s))), s...) }

func vector(items ...[]byte) []byte {
	return append(uleb(uint64(len(items))), slices.Concat(items...)...)
}

func section(id byte, content []byte) []byte {
	return slices.Concat([]byte{id}, uleb(uint64(len(content))), content)
}

func signature(params, result []byte) []byte {
	return slices.Concat([]byte{0x60}, uleb(uint64(len(params))), params, uleb(uint64(len(result))), result)
}

// constant is an expression.
func constant(n int8) []byte { return []byte{0x41, byte(n) & 0x7f} }

func (m module) bytes() []byte {
	if m.body == nil {
		m.body = constant(0)
	}
	types := [][]byte{signature([]byte{i32, i32, i32}, []byte{i32})}
	var imports [][]byte
	for _, i := range m.imports {
		imports = append(imports, slices.Concat(text("gyre_1"), text(i.name), []byte{0}, uleb(uint64(len(types)))))
		types = append(types, signature(i.params, i.result))
	}
	exports := [][]byte{append(text("memory"), 2, 0)}
	if !m.noHandle {
		exports = append(exports, slices.Concat(text(cmp.Or(m.entry, "gyre_handle")), []byte{0}, uleb(uint64(len(imports)))))
	}
	code := slices.Concat([]byte{0}, m.body, []byte{0x0b})
	b := slices.Concat(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, vector(types...)),
		section(2, vector(imports...)),
		section(3, vector([]byte{0})),
		section(5, vector(append([]byte{0}, uleb(max(m.pages, 1))...))),
		section(7, vector(exports...)),
		section(10, vector(append(uleb(uint64(len(code))), code...))),
	)
	for _, custom := range [][2]string{{"gyre.manifest", m.manifest}, {"salt", m.salt}} {
		if custom[1] != "" {
			b = append(b, section(0, append(text(custom[0]), custom[1]...))...)
		}
	}
	return b
}
