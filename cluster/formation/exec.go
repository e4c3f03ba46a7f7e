package formation

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// execEvery is the pause between two runs of a command: one may cost a call of some
	// cloud.
	execEvery = 10 * time.Second
	// pipeDelay is how long the output of a command is waited for when it has ended: what
	// it has left running may hold it.
	pipeDelay = time.Second
	// maxReason bounds what is kept of stderr.
	maxReason = 400
)

// Exec is a provider of the addresses that a command of the shell prints. A host without a
// port has the one given.
func Exec(name, command, port string) Provider {
	return Provider{Name: name, Every: execEvery, Find: func(ctx context.Context) ([]string, error) {
		text, err := output(ctx, command)
		if err != nil {
			return nil, err
		}
		return addresses(text, port)
	}}
}

// output runs a command and returns what it prints.
func output(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	stdout := &bounded{most: maxText, full: func() { cancel(fmt.Errorf("it prints more than %d bytes", maxText)) }}
	stderr := &bounded{most: maxReason, full: func() {}}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// In its own process group its children are killed with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeDelay
	err := cmd.Run()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.DeadlineExceeded):
		err = fmt.Errorf("it takes longer than %s", findWithin)
	case cause != nil:
		err = cause
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil
		_ = cmd.Cancel() // what it has left running holds its output
	}
	if err != nil {
		return "", withReason(err, string(stderr.text))
	}
	return string(stdout.text), nil
}

// withReason adds what a command wrote to stderr.
func withReason(err error, stderr string) error {
	if reason := strings.Join(strings.Fields(stderr), " "); reason != "" {
		return fmt.Errorf("%w: %s", err, reason)
	}
	return err
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	text []byte
	most int
	full func() // is called when there was more
}

// Write is part of io.Writer. It never fails, so that the command goes on.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - len(b.text)
	if len(p) > room {
		b.full()
	}
	b.text = append(b.text, p[:min(len(p), room)]...)
	return len(p), nil
}
