//go:build unix

package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMissing says that the machine has no PostgreSQL.
var ErrMissing = errors.New("no PostgreSQL binaries (initdb, pg_ctl); on Debian: apt-get install postgresql")

// binEnv names the folder of the binaries to use, in place of the machine's newest.
const binEnv = "GYRE_TEST_PGBIN"

// Server is a PostgreSQL server. A private one can be stopped and started.
type Server struct {
	// URL connects as the superuser, by TCP.
	URL string

	dir   string // of everything; "" where the server is not ours
	bin   string
	port  int
	as    *syscall.Credential // whom it runs as; nil = this process's user
	leash io.Closer           // when it closes, by whatever end, the guard cleans up
	guard *exec.Cmd
}

const (
	userName = "gyre"
	password = "tell-nobody"
)

// settings are those of every server. What is acknowledged is on disk.
var settings = []string{
	"fsync = on", "synchronous_commit = on", "full_page_writes = on",
	"listen_addresses = '127.0.0.1'", "max_connections = 200", "shared_buffers = 256MB",
	"max_wal_size = 4GB", "wal_level = replica", "max_wal_senders = 4", "log_min_messages = warning",
}

// New starts a private server on a free port, with its folder below parent, or below the
// folder for temporary files if parent is empty.
func New(parent string) (*Server, error) { return NewAt(parent, 0) }

// NewAt is New with a port.
func NewAt(parent string, port int) (*Server, error) {
	s, err := prepare(parent, port)
	if err != nil {
		return nil, err
	}
	secret := filepath.Join(s.dir, "secret")
	if err := os.WriteFile(secret, []byte(password), 0o644); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	err = s.run("initdb", "-D", s.data(), "-U", userName, "-E", "UTF8", "--locale=C", "--no-sync",
		"--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+secret)
	if err == nil {
		err = s.configure(settings...)
	}
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// URLAt connects to the server that NewAt starts.
func URLAt(port int) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", userName, password, port)
}

// prepare finds the binaries, makes the folder and sets the guard. Without a port it takes
// a free one.
func prepare(parent string, port int) (*Server, error) {
	bin, err := findBinaries()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, port: port}
	if os.Geteuid() == 0 {
		// The server refuses to run as root.
		if s.as, err = unprivileged(); err != nil {
			return nil, err
		}
	}
	if s.dir, err = os.MkdirTemp(parent, "gyre-pg-"); err != nil {
		return nil, err
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return nil, err
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, err
		}
	}
	if s.port == 0 {
		if s.port, err = freePort(); err != nil {
			return nil, err
		}
	}
	s.URL = URLAt(s.port)
	return s, s.watch()
}

// watch starts the guard: a shell that waits for the end of this process, which
// closes the pipe, and then stops the server and removes the folder.
func (s *Server) watch() error {
	s.guard = s.command("sh", "-c", `cat >/dev/null; "$1"/pg_ctl -D "$2"/data -m immediate stop; rm -rf "$2"`, "guard", s.bin, s.dir)
	s.guard.SysProcAttr.Setsid = true // what ends this process's group must not end it
	var err error
	if s.leash, err = s.guard.StdinPipe(); err != nil {
		return err
	}
	return s.guard.Start()
}

// Close stops the server and removes everything.
func (s *Server) Close() error {
	if s.leash == nil {
		return nil
	}
	_ = s.leash.Close()
	s.leash = nil
	_ = s.guard.Wait() // it may not be allowed to remove the folder itself
	return os.RemoveAll(s.dir)
}

// Start starts a server that was stopped.
func (s *Server) Start() error {
	return s.run("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.dir, "log"), "-w", "-t", "60", "start")
}

// Stop stops it: it ends all connections and finishes what it has to.
func (s *Server) Stop() error { return s.run("pg_ctl", "-D", s.data(), "-w", "-m", "fast", "stop") }

// Kill ends it with no warning, as kill -9 of every process does.
func (s *Server) Kill() error {
	pid, err := s.pid()
	if err != nil {
		return err
	}
	// Its children notice at once, and end without writing anything.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for range 500 {
		if syscall.Kill(pid, 0) != nil && !s.answers() {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("server %d does not end", pid)
}

func (s *Server) answers() bool {
	c, err := net.DialTimeout("tcp", s.address(), time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func (s *Server) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *Server) pid() (int, error) {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return strconv.Atoi(first)
}

// Standby starts a standby of s, which is stopped for a moment to be copied. With
// synchronous, commits on s wait for it.
func (s *Server) Standby(synchronous bool) (*Server, error) {
	standby, err := prepare(filepath.Dir(s.dir), 0)
	if err != nil {
		return nil, err
	}
	err = s.copyTo(standby)
	if err == nil {
		err = standby.Start()
	}
	if err == nil && synchronous {
		err = s.configure("synchronous_standby_names = '*'")
		if err == nil {
			err = s.run("pg_ctl", "-D", s.data(), "reload")
		}
	}
	if err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// copyTo makes a standby's data of those of s. pg_basebackup does it without a stop, but
// not everybody who has a server has it.
func (s *Server) copyTo(standby *Server) error {
	if err := s.Stop(); err != nil {
		return err
	}
	if out, err := standby.command("cp", "-a", s.data(), standby.data()).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	signal := filepath.Join(standby.data(), "standby.signal")
	if out, err := standby.command("touch", signal).CombinedOutput(); err != nil {
		return fmt.Errorf("touch: %w: %s", err, out)
	}
	primary := fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=%s password=%s'", s.port, userName, password)
	return errors.Join(standby.configure(primary), s.Start())
}

// Dump is a store as SQL, as pg_dump makes it.
func (s *Server) Dump(store string) ([]byte, error) {
	file := filepath.Join(s.dir, "dump-"+store)
	if err := s.run("pg_dump", "-d", s.URL, "-n", store, "-f", file); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

// Restore puts a store's dump in the place of what is there.
func (s *Server) Restore(store string, dump []byte) error {
	file := filepath.Join(s.dir, "dump-"+store)
	text := append([]byte("SET client_min_messages = warning;\nDROP SCHEMA "+store+" CASCADE;\n"), dump...)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	return s.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", s.URL, "-f", file)
}

// Save copies everything that the server has, as a backup of its files does, and Rewind
// puts the copy in the place of what is there. Both stop the server for a moment.
func (s *Server) Save() error { return s.replaceFiles(s.data(), s.data()+"-saved") }

// Rewind is explained at Save.
func (s *Server) Rewind() error { return s.replaceFiles(s.data()+"-saved", s.data()) }

func (s *Server) replaceFiles(from, to string) error {
	if err := s.Stop(); err != nil {
		return err
	}
	if out, err := s.command("sh", "-c", `rm -rf "$2" && cp -a "$1" "$2"`, "copy", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	return s.Start()
}

// Promote makes a standby a primary.
func (s *Server) Promote() error {
	return s.run("pg_ctl", "-D", s.data(), "-w", "-t", "60", "promote")
}

// URLs connects to whichever of the servers takes writes.
func URLs(servers ...*Server) string {
	hosts := make([]string, len(servers))
	for i, s := range servers {
		hosts[i] = s.address()
	}
	u, err := url.Parse(servers[0].URL)
	if err != nil {
		panic(err)
	}
	return strings.Replace(servers[0].URL, u.Host, strings.Join(hosts, ","), 1) + "&target_session_attrs=read-write"
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// configure adds settings, and the address.
func (s *Server) configure(lines ...string) error {
	lines = append(slices.Clone(lines), fmt.Sprintf("port = %d", s.port), fmt.Sprintf("unix_socket_directories = '%s'", s.dir))
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("\n" + strings.Join(lines, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// command is a command as the user that the server runs as.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = s.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return c
}

// run runs one of PostgreSQL's programs. Its output goes to a file, as a server
// that it starts would keep a pipe open.
func (s *Server) run(program string, args ...string) error {
	c := s.command(filepath.Join(s.bin, program), args...)
	out, err := os.CreateTemp(s.dir, "out-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	defer func() { _ = out.Close() }()
	c.Stdout, c.Stderr = out, out
	if err := c.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("%s: %w: %s%s", program, err, bytes.TrimSpace(said), lastLines(log, 5))
	}
	return nil
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\n" + strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// findBinaries finds the newest server's programs, or those that were asked for.
func findBinaries() (string, error) {
	if dir := os.Getenv(binEnv); dir != "" {
		if !hasServer(dir) {
			return "", fmt.Errorf("%s is %s, where no initdb and pg_ctl are", binEnv, dir)
		}
		return dir, nil
	}
	candidates, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(candidates, func(a, b string) int { return version(b) - version(a) })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for _, dir := range candidates {
		if hasServer(dir) {
			return dir, nil
		}
	}
	return "", ErrMissing
}

func hasServer(dir string) bool {
	return isProgram(filepath.Join(dir, "initdb")) && isProgram(filepath.Join(dir, "pg_ctl"))
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

func version(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// unprivileged is somebody who is not root.
func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("this process is root, which PostgreSQL refuses, and there is no user postgres or nobody")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
