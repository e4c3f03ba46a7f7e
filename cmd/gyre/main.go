package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// version is set by the linker; see the Makefile.
var version = "devel"

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(signaled{<-signals}) // ends the work in an orderly way
		<-signals
		os.Exit(exitInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// signaled is the cause of a context that a signal ended.
type signaled struct{ os.Signal }

func (s signaled) Error() string { return s.String() + " signal received" }
func (s signaled) Unwrap() error { return context.Canceled }

// run is the whole program, without the process around it.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{program: programName(os.Args[0]), args: args, stdin: &patientReader{ctx, stdin}, stdout: stdout, stderr: screenOf(stderr), getenv: os.Getenv}
	root := newRoot(a)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	return a.report(ctx, adviseHelp(cmd.CommandPath(), err))
}

// programName is what to type to run this again: the name alone if it was found
// on the PATH, or a relative path such as bin/gyre.
func programName(arg0 string) string {
	if filepath.IsAbs(arg0) {
		return filepath.Base(arg0)
	}
	return arg0
}

// patientReader reads from a source that may never have anything, such as a
// terminal, and gives up when ctx ends. The read below it then goes on until the
// process ends: nothing can stop it.
type patientReader struct {
	ctx  context.Context
	from io.Reader
}

func (r *patientReader) Read(p []byte) (int, error) {
	type answer struct {
		n   int
		err error
	}
	// The caller may use p again when the read below is still under way.
	own := make([]byte, len(p))
	answers := make(chan answer, 1)
	go func() {
		n, err := r.from.Read(own)
		answers <- answer{n, err}
	}()
	select {
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	case a := <-answers:
		return copy(p, own[:a.n]), a.err
	}
}
