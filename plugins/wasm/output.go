package wasm

import (
	"bytes"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// log passes a line on, cut and made printable, while the call's budget lasts.
func (in *Instance) log(level abi.Level, text []byte) {
	text = text[:min(len(text), abi.MaxLineBytes)]
	if in.logged += len(text); in.logged > abi.MaxLogBytes {
		return
	}
	in.line = plugins.AppendLine(in.line[:0], text)
	in.config.Output.Log(level, in.line)
}

// write takes what a guest prints to a file descriptor, and logs the lines that are whole. It
// does not look at what is over the call's budget anyway.
func (in *Instance) write(text []byte) {
	text = text[:min(len(text), abi.MaxLogBytes)]
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		in.printed = append(in.printed, line[:min(len(line), abi.MaxLineBytes-len(in.printed))]...)
		if text = rest; whole {
			in.flush()
		}
	}
}

// flush logs what was printed without an end of line.
func (in *Instance) flush() {
	if len(in.printed) > 0 {
		in.log(abi.Info, in.printed)
	}
	in.printed = in.printed[:0]
}
