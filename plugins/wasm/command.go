package wasm

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/stdio"
)

// The fuel of a line that a command writes and the host decodes: of any, and for 4 bytes one unit.
const (
	lineCost  = 2000
	lineShift = 2
)

// exited ends a command that has said that all is well. Of another guest it is a failure.
var exited = &Trap{Reason: Failed, Detail: "exit code 0"}

// commandImports are the functions of WASI that only a command may import. Toolchains link those about
// files and sockets into programs that use none; they answer that there are none.
func commandImports() []imported {
	list := []imported{
		wasi("fd_read", "iiii:i", fdRead),
		wasi("clock_res_get", "ii:i", fixed(wasiMissing)),
		wasi("proc_raise", "i:i", fixed(wasiMissing)),
	}
	for _, name := range slices.Sorted(maps.Keys(fileFunctions)) {
		list = append(list, wasi(name, fileFunctions[name]+":i", fixed(wasiBadFile)))
	}
	return list
}

// fileFunctions are the functions about files and sockets that no module needs to start, with their
// parameters.
var fileFunctions = map[string]string{
	"fd_advise": "iIIi", "fd_allocate": "iII", "fd_datasync": "i", "fd_fdstat_set_rights": "iII", "fd_filestat_get": "ii",
	"fd_filestat_set_size": "iI", "fd_filestat_set_times": "iIIi", "fd_pread": "iiiIi", "fd_pwrite": "iiiIi",
	"fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_sync": "i", "fd_tell": "ii",
	"path_create_directory": "iii", "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiiIIi", "path_link": "iiiiiii",
	"path_open": "iiiiiIIii", "path_readlink": "iiiiii", "path_remove_directory": "iii", "path_rename": "iiiiii",
	"path_symlink": "iiiii", "path_unlink_file": "iii",
	"sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii", "sock_shutdown": "ii",
}

// procExit ends a guest. A command ends well by it, if its code is 0.
func procExit(_ *Instance, stack []uint64) {
	code := uint32(stack[0])
	if code == 0 {
		panic(exited)
	}
	stop(Failed, "exit code %d", code)
}

// isCommand reports whether calls run a command of ABI stdio_1.
func (p *Program) isCommand() bool { return p.entry == abi.Main }

// standard is what a command reads and writes.
type standard struct {
	input   []byte // what is left of it
	partial []byte // line that is written, without an end yet
	lines   int    // that have ended
}

// openStandard gives a command the lines of a batch.
func (in *Instance) openStandard() error {
	config, e := in.config.Reads.Config(nil)
	if e != abi.OK {
		return e
	}
	var err error
	in.standard.input, err = stdio.AppendBatch(nil, in.batch, config)
	return err
}

// readInput is fd_read of the standard input.
func (in *Instance) readInput(into []byte) (n int) {
	n = copy(into, in.standard.input)
	in.standard.input = in.standard.input[n:]
	return n
}

// writeOutput takes what a command writes to its standard output, and stages the lines that are
// whole.
func (in *Instance) writeOutput(text []byte) error {
	s := &in.standard
	for len(text) > 0 {
		part, rest, whole := bytes.Cut(text, []byte{'\n'})
		if len(s.partial)+len(part) > stdio.MaxLine {
			return badLine(s.lines+1, stdio.TooLong)
		}
		if len(s.partial) > 0 || !whole {
			s.partial = append(s.partial, part...)
			part = s.partial
		}
		if text = rest; !whole {
			break
		}
		s.partial = s.partial[:0]
		if err := in.effectOf(part); err != nil {
			return err
		}
	}
	return nil
}

// closeOutput stages a last line that has no end. The guest has ended, so the runtime recovers no panic.
func (in *Instance) closeOutput() (err error) {
	defer recovered(&err)
	if len(in.standard.partial) == 0 {
		return nil
	}
	return in.effectOf(in.standard.partial)
}

// badLine is the trap of a command that has written what is no effect.
func badLine(line int, why string) *Trap {
	return &Trap{Reason: BadOutput, Detail: fmt.Sprintf("line %d: %s", line, why)}
}

// effectOf stages what a line says.
func (in *Instance) effectOf(text []byte) error {
	in.standard.lines++
	line := in.standard.lines
	in.tank.spend(lineCost + int64(len(text))>>lineShift)
	e, err := stdio.Decode(text)
	if err != nil {
		return badLine(line, core.AsError(err).Detail)
	}
	switch e.Do {
	case plugins.DoLog:
		in.log(e.Level, []byte(e.Text))
		return nil
	case stdio.DoMetric:
		return refusal(line, e, in.report(e.Kind, []byte(e.Name), e.Amount))
	}
	if why := in.turnTo(e.Position); why != "" {
		return badLine(line, why)
	}
	return refusal(line, e, in.stage(e))
}

// turnTo makes the event at a position the current one, or says why not.
func (in *Instance) turnTo(position uint64) (why string) {
	for i := max(in.event, 0); i < len(in.events); i++ {
		if in.events[i].position == position {
			in.event = i
			return ""
		}
	}
	if in.event > 0 && position < in.events[in.event].position {
		return fmt.Sprintf("position %d comes after position %d: lines have to be in the order of their events", position, in.events[in.event].position)
	}
	return fmt.Sprintf("position %d is not that of an event of the batch", position)
}

// stage stages an effect of the current event.
func (in *Instance) stage(e *stdio.Effect) abi.Errno {
	to := in.config.Effects
	switch e.Do {
	case plugins.DoAppend:
		return in.append([]byte(e.Stream), e.Expect, e.Events)
	case plugins.DoPut:
		return to.Put(in.event, []byte(e.Key), e.Value)
	case plugins.DoDelete:
		return to.Delete(in.event, []byte(e.Key))
	case stdio.DoRetry:
		return to.Result(in.event, abi.Retry, e.Delay, []byte(e.Reason))
	case stdio.DoPark:
		return to.Result(in.event, abi.Park, 0, []byte(e.Reason))
	case stdio.DoSkip:
		return to.Result(in.event, abi.Skip, 0, nil)
	}
	return to.Result(in.event, abi.Ack, 0, nil)
}

// refusal is the trap of a command whose effect is refused; nil if it is not.
func refusal(line int, e *stdio.Effect, errno abi.Errno) error {
	if errno == abi.OK {
		return nil
	}
	of := ""
	if e.Do != stdio.DoMetric {
		of = fmt.Sprintf(" for the event at %d", e.Position)
	}
	return &Trap{Reason: Failed, Detail: fmt.Sprintf("line %d: %s%s: %s", line, e.Do, of, errno.Error())}
}

// command is the plugins.Handler of a command: an instance for each batch.
type command struct {
	program *Program
	config  Config
	memory  int64 // of the last instance, at its end
}

// Handle is plugins.Handler.Handle.
func (c *command) Handle(ctx context.Context, batch []byte) (abi.Verdict, int64, error) {
	in, err := c.program.New(ctx, c.config)
	if err != nil {
		return 0, 0, failure(ctx, err, true)
	}
	defer in.Close()
	verdict, fuel, err := in.Call(ctx, batch)
	if err != nil {
		return 0, fuel, failure(ctx, err, true)
	}
	c.memory = int64(in.MemoryBytes())
	return verdict, fuel, nil
}

// MemoryBytes is plugins.Handler.MemoryBytes.
func (c *command) MemoryBytes() int64 { return c.memory }

// Close is plugins.Handler.Close.
func (c *command) Close() {}
