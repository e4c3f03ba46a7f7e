package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/sdk"
)

const (
	// exitPark is the exit code of a command that wants its event parked.
	exitPark = 100
	// A shell says with these that it cannot run the command.
	exitNotExecutable, exitNoCommand = 126, 127

	// pipeDelay is how long a command's output is waited for when it has ended: what it
	// has left running may hold it.
	pipeDelay = time.Second
	// extraLease is the time to ack beyond that of the command.
	extraLease = 10 * time.Second
	// maxReasonBytes bounds the kept line of stderr, maxLinePart one write of a line.
	maxReasonBytes = 400
	maxLinePart    = 64 << 10
)

// run runs a command for each event until ctx ends.
func (c *consumption) run(ctx context.Context, sub *sdk.Subscriber, f *subscribeFlags) error {
	var mu sync.Mutex
	return sub.Consume(ctx, func(ctx context.Context, d sdk.Delivery) error {
		stderr := &lineWriter{mu: &mu, to: c.app.stderr, prefix: fmt.Sprintf("[%d] ", d.Position)}
		stdout, flush := c.stdout()
		err := c.runOnce(ctx, f, d, stdout, stderr)
		flush()
		var refusal *sdk.Refusal
		switch {
		case err == nil:
			c.succeeded.Add(1)
		case errors.As(err, &refusal):
			c.parked.Add(1)
		default:
			c.failed.Add(1)
		}
		return err
	})
}

// stdout is where the stdout of a command goes: where ours goes or, as long as a bar is at
// the end of that terminal, above it by lines. flush passes on what it ends with.
func (c *consumption) stdout() (w io.Writer, flush func()) {
	s := c.above.Load()
	if s == nil {
		return c.app.stdout, func() {}
	}
	lines := &linesAbove{screen: s, to: c.app.stdout}
	return lines, lines.flush
}

// runOnce runs the command for one event, and makes an answer of how it ends.
func (c *consumption) runOnce(ctx context.Context, f *subscribeFlags, d sdk.Delivery, stdout io.Writer, stderr *lineWriter) error {
	// If the lease is lost, the event comes again whatever becomes of it here.
	_ = d.Extend(f.handlerTimeout + extraLease)
	limited, cancel := context.WithTimeout(ctx, f.handlerTimeout)
	defer cancel()
	cmd := exec.CommandContext(limited, "sh", "-c", f.exec)
	cmd.Stdin = bytes.NewReader(deliveryJSON(nil, &d))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// In its own process group, a Ctrl-C of the terminal does not reach it, and its children
	// are killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	err := cmd.Run()
	stderr.flush()
	var exit *exec.ExitError
	switch {
	case limited.Err() != nil:
		return fmt.Errorf("it took longer than %s", f.handlerTimeout)
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return nil
	case !errors.As(err, &exit):
		c.end(fmt.Errorf("run the command of --exec: %w", err))
		return err
	}
	why := exit.String() // exit status N, or signal: NAME
	if stderr.last != "" {
		why += ": " + stderr.last
	}
	switch exit.ExitCode() {
	case exitPark:
		return &sdk.Refusal{Action: delivery.ActionPark, Reason: why}
	case exitNotExecutable, exitNoCommand:
		c.end(fmt.Errorf("the command of --exec cannot be run: %s", why))
	}
	return errors.New(why)
}

// lineWriter passes on lines with a prefix, whole, and keeps the last one.
type lineWriter struct {
	mu     *sync.Mutex // held while a line is written
	to     io.Writer
	prefix string
	line   []byte // the current one
	last   string
}

// Write is part of io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		part, more, end := bytes.Cut(rest, []byte{'\n'})
		room := maxLinePart - len(w.line)
		if len(part) >= room {
			w.line = append(w.line, part[:room]...)
			rest = rest[room:]
			w.flush()
			continue
		}
		w.line = append(w.line, part...)
		rest = more
		if end {
			w.flush()
		}
	}
	return len(p), nil
}

// flush passes on the line as it is now, if it is not empty.
func (w *lineWriter) flush() {
	if len(w.line) == 0 {
		return
	}
	w.last = cell(string(w.line[:min(len(w.line), maxReasonBytes)]), maxReasonBytes)
	text := append(append([]byte(w.prefix), w.line...), '\n')
	w.line = w.line[:0]
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.to.Write(text) // there is nowhere to tell
}
