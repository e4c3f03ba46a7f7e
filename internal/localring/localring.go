//go:build unix

// Package localring runs a ring of real nodes on this machine, over one PostgreSQL. It is
// behind make cluster, and behind the benchmark of a ring.
package localring

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// readyWithin is more than nodes take to form a ring.
	readyWithin = time.Minute
	readyEvery  = 50 * time.Millisecond
	// stopWithin is more than a node takes to leave a ring.
	stopWithin = 15 * time.Second
)

// Config says which ring to run.
type Config struct {
	Gyre     string   // the program
	Postgres string   // URL of the database
	Store    string   // the schema; "" is gyre's default
	Dir      string   // for logs
	Listen   []string // host:port of each node
	Gossip   []string // host:port of the gossip of each node
	Files    []string // of --config, for each node, that say all of this; nil: flags do
}

// Ring is a ring that runs.
type Ring struct {
	Nodes  []*Node
	config Config
}

// Node is a node of the ring.
type Node struct {
	Name, Listen, Gossip, Log string
	// Args are the arguments of gyre.
	Args []string
	cmd  *exec.Cmd
	// ended is closed when the process has ended.
	ended chan struct{}
}

// Start starts the nodes and returns when all of them are in one view and serve.
func Start(ctx context.Context, c Config) (*Ring, error) {
	r := &Ring{config: c}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return nil, err
	}
	for i := range c.Listen {
		n := r.node(i)
		if err := n.start(c.Gyre); err != nil {
			return nil, errors.Join(err, r.Close())
		}
		r.Nodes = append(r.Nodes, n)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, n := range r.Nodes {
		if err := n.ready(ctx); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// node is a node that is not started.
func (r *Ring) node(i int) *Node {
	c := r.config
	n := &Node{Name: fmt.Sprintf("node%d@127.0.0.1", i+1), Listen: c.Listen[i], Gossip: c.Gossip[i], ended: make(chan struct{})}
	n.Log = filepath.Join(c.Dir, fmt.Sprintf("node%d.log", i+1))
	if c.Files != nil {
		n.Args = []string{"serve", "--config", c.Files[i]}
		return n
	}
	n.Args = []string{"serve", "--cluster", "--node", n.Name, "--listen", n.Listen, "--gossip", n.Gossip,
		"--quorum", fmt.Sprint(len(c.Listen)/2 + 1), "--peers", strings.Join(c.Gossip, ","), "--postgres", c.Postgres}
	if c.Store != "" {
		n.Args = append(n.Args, "--store", c.Store)
	}
	return n
}

// start starts the process, in a group of its own: Ctrl-C is for who runs the ring.
func (n *Node) start(gyre string) error {
	log, err := os.Create(n.Log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	n.cmd = exec.Command(gyre, n.Args...)
	n.cmd.Stderr = log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := n.cmd, n.ended
	go func() { // Ring.Close waits for it
		defer close(ended)
		_ = cmd.Wait() // ProcessState says how it was
	}()
	return nil
}

// ready waits until the node serves.
func (n *Node) ready(ctx context.Context) error {
	said := "nothing listens there"
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Listen+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			said = answer.Status
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-n.ended:
			return fmt.Errorf("%s has ended (%s):\n%s", n.Name, n.cmd.ProcessState, n.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%s):\n%s", n.Name, said, n.lastLines())
		case <-time.After(readyEvery):
		}
	}
}

// Restart starts a node again that has ended, and returns when it serves.
func (r *Ring) Restart(ctx context.Context, n *Node) error {
	<-n.ended
	n.ended = make(chan struct{})
	if err := n.start(r.config.Gyre); err != nil {
		close(n.ended)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return n.ready(ctx)
}

// lastLines are the end of the log.
func (n *Node) lastLines() string {
	text, err := os.ReadFile(n.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// PID is the process id of the node.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Ended is closed when the process of the node has ended.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// State says how the process has ended.
func (n *Node) State() string { return n.cmd.ProcessState.String() }

// Signal sends the node a signal.
func (n *Node) Signal(s syscall.Signal) error { return n.cmd.Process.Signal(s) }

// Servers are the addresses of all nodes, as --server takes them.
func (r *Ring) Servers() string { return strings.Join(r.config.Listen, ",") }

// Close stops all nodes: those that do not end in time are killed.
func (r *Ring) Close() error {
	var stopping sync.WaitGroup
	errs := make([]error, len(r.Nodes))
	for i, n := range r.Nodes {
		stopping.Go(func() {
			_ = n.Signal(syscall.SIGTERM) // it may have ended
			select {
			case <-n.ended:
			case <-time.After(stopWithin):
				errs[i] = fmt.Errorf("%s did not stop within %s", n.Name, stopWithin)
				_ = n.Signal(syscall.SIGKILL)
				<-n.ended
			}
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}
