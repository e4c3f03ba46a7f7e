package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// namespaces are the network namespaces of a test: one for each node, joined by a bridge
// that has an address of this process, too. Their links can be cut and mended.
type namespaces struct {
	t      *testing.T
	prefix string // of the names of everything
	subnet string // its first three bytes
}

// newNamespaces needs root and the program ip. Without them the test is skipped; with
// CI=true it fails.
func newNamespaces(t *testing.T, nodes int) *namespaces {
	t.Helper()
	lacks := t.Skip
	if os.Getenv("CI") == "true" {
		lacks = t.Fatal
	}
	if os.Geteuid() != 0 {
		lacks("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		lacks("no program ip; on Debian: apt-get install iproute2")
	}
	n := &namespaces{t: t, prefix: fmt.Sprintf("gy%d", os.Getpid()), subnet: fmt.Sprintf("10.213.%d", os.Getpid()%250+1)}
	removeLeftNamespaces()
	t.Cleanup(func() {
		for i := range nodes {
			_ = exec.Command("ip", "netns", "del", n.name(i)).Run()
		}
		_ = exec.Command("ip", "link", "del", n.prefix+"b").Run()
	})
	n.ip("link", "add", n.prefix+"b", "type", "bridge")
	n.ip("addr", "add", n.hub()+"/24", "dev", n.prefix+"b")
	n.ip("link", "set", n.prefix+"b", "up")
	for i := range nodes {
		n.ip("netns", "add", n.name(i))
		n.ip("link", "add", n.link(i), "type", "veth", "peer", "name", "eth0", "netns", n.name(i))
		n.ip("link", "set", n.link(i), "master", n.prefix+"b", "up")
		n.ip("-n", n.name(i), "addr", "add", n.addr(i)+"/24", "dev", "eth0")
		n.ip("-n", n.name(i), "link", "set", "eth0", "up")
		n.ip("-n", n.name(i), "link", "set", "lo", "up")
	}
	return n
}

// removeLeftNamespaces removes those of processes that have ended without doing so.
func removeLeftNamespaces() {
	remove := func(name string, args ...string) {
		rest, ok := strings.CutPrefix(name, "gy")
		digits, _, _ := strings.Cut(strings.TrimSuffix(rest, "b"), "-")
		if pid, err := strconv.Atoi(digits); ok && err == nil && !processExists(pid) {
			_ = exec.Command("ip", append(args, name)...).Run()
		}
	}
	list, _ := os.ReadDir("/var/run/netns")
	for _, e := range list {
		remove(e.Name(), "netns", "del")
	}
	links, _ := os.ReadDir("/sys/class/net")
	for _, e := range links {
		remove(e.Name(), "link", "del")
	}
}

func processExists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return !errors.Is(err, os.ErrNotExist)
}

func (n *namespaces) name(i int) string { return fmt.Sprintf("%s-%d", n.prefix, i+1) }
func (n *namespaces) link(i int) string { return fmt.Sprintf("%s-l%d", n.prefix, i+1) }
func (n *namespaces) addr(i int) string { return fmt.Sprintf("%s.%d", n.subnet, i+1) }

// hub is this process's address on the bridge.
func (n *namespaces) hub() string { return n.subnet + ".254" }

func (n *namespaces) ip(args ...string) {
	n.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// program writes a program that is gyre in a namespace, under the same process id.
func (n *namespaces) program(i int, dir string) string {
	n.t.Helper()
	gyre, err := exec.LookPath("gyre")
	if err != nil {
		n.t.Fatal(err)
	}
	file := filepath.Join(dir, "gyre")
	text := fmt.Sprintf("#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", n.name(i), gyre)
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		n.t.Fatal(err)
	}
	return file
}

// isolate cuts a node off from everything, or mends that.
func (n *namespaces) isolate(i int, cut bool) {
	n.t.Helper()
	state := "up"
	if cut {
		state = "down"
	}
	n.ip("link", "set", n.link(i), state)
}

// blackhole loses what one node sends to another, or mends that: the other's address leads
// to a machine that is not there.
func (n *namespaces) blackhole(from, to int, cut bool) {
	n.t.Helper()
	if cut {
		n.ip("-n", n.name(from), "neigh", "replace", n.addr(to), "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
		return
	}
	n.ip("-n", n.name(from), "neigh", "del", n.addr(to), "dev", "eth0")
}

// proxy is a node's way to a server on the loopback interface of this process. It can be
// stalled: nothing passes, and nobody is told.
type proxy struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex // protects the fields below
	open  chan struct{}
	conns map[net.Conn]struct{}
	ended bool
}

// newProxy listens on an address of this process, in front of the server of a URL, and
// returns the URL by which it is reached.
func newProxy(t *testing.T, address, server string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: u.Host, open: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(p.open)
	if p.listener, err = net.Listen("tcp", address+":0"); err != nil {
		t.Fatal(err)
	}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	u.Host = p.listener.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(c net.Conn) {
	if !p.keep(c) {
		return
	}
	<-p.gate()
	s, err := net.Dial("tcp", p.server)
	if err != nil || !p.keep(s) {
		p.drop(c)
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{s, c}, {c, s}} {
		both.Go(func() {
			_, _ = io.Copy(&stalling{way[0], p}, way[1])
			p.drop(c)
			p.drop(s)
		})
	}
	both.Wait()
}

// stalling writes when the proxy is not stalled.
type stalling struct {
	to net.Conn
	p  *proxy
}

func (s *stalling) Write(b []byte) (int, error) {
	<-s.p.gate()
	return s.to.Write(b)
}

func (p *proxy) gate() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = c.Close()
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// stall stops everything on its way, or lets it go on.
func (p *proxy) stall(stop bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		if stop {
			p.open = make(chan struct{})
		}
	default:
		if !stop {
			close(p.open)
		}
	}
}

func (p *proxy) close() {
	p.stall(false)
	p.mu.Lock()
	p.ended = true
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	_ = p.listener.Close()
	p.running.Wait()
}
