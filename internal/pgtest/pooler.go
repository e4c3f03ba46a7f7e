//go:build unix

package pgtest

import (
	"context"
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
	"syscall"
	"testing"
	"time"
)

// ErrNoPooler says that the machine has no PgBouncer.
var ErrNoPooler = errors.New("no pgbouncer; on Debian: apt-get install pgbouncer")

// Pooler is PgBouncer in transaction mode in front of a server: each transaction of a
// client gets whichever of its few connections is free.
type Pooler struct {
	// URL connects through it, as the Server's user.
	URL string

	dir   string
	as    *syscall.Credential
	port  int
	leash io.Closer // when it closes, by whatever end, the guard cleans up
	guard *exec.Cmd
}

// poolerConns is how many connections to the server it has: fewer than those of two
// Stores, so that they have to share.
const poolerConns = 8

const poolerConfig = `[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir = %s
logfile = %[4]s/log
pidfile = %[4]s/pid
auth_type = plain
auth_file = %[4]s/users
pool_mode = transaction
default_pool_size = %[5]d
max_client_conn = 500
server_login_retry = 1
`

// Pooler starts one that ends with the test.
func (s *Server) Pooler(t testing.TB) *Pooler {
	t.Helper()
	p, err := newPooler(s)
	must(t, err)
	t.Cleanup(func() {
		_ = p.leash.Close()
		_ = p.guard.Wait()
		_ = os.RemoveAll(p.dir)
	})
	return p
}

func newPooler(s *Server) (*Pooler, error) {
	if _, err := poolerProgram(); err != nil {
		return nil, err
	}
	p := new(Pooler)
	var err error
	if os.Geteuid() == 0 {
		if p.as, err = unprivileged(); err != nil { // it refuses to run as root
			return nil, err
		}
	}
	if p.port, err = freePort(); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "gyre-pooler-"); err != nil {
		return nil, err
	}
	if err := p.configure(s); err != nil {
		return nil, err
	}
	if err := p.watch(); err != nil {
		return nil, err
	}
	return p, p.Start()
}

// configure writes what it reads, and makes the URL.
func (p *Pooler) configure(s *Server) error {
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	secret, _ := u.User.Password()
	config := fmt.Sprintf(poolerConfig, u.Hostname(), u.Port(), p.port, p.dir, poolerConns)
	users := fmt.Sprintf("%q %q\n", u.User.Username(), secret)
	for name, text := range map[string]string{"config": config, "users": users} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if p.as != nil {
		if err := os.Chown(p.dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			return err
		}
	}
	u.Host = p.address()
	u.RawQuery = "sslmode=disable"
	p.URL = u.String()
	return nil
}

func (p *Pooler) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

// watch starts the guard, as Server.watch does.
func (p *Pooler) watch() error {
	p.guard = p.command("sh", "-c", `cat >/dev/null; kill -TERM "$(cat "$1"/pid)" 2>/dev/null; rm -rf "$1"`, "guard", p.dir)
	p.guard.SysProcAttr.Setsid = true
	var err error
	if p.leash, err = p.guard.StdinPipe(); err != nil {
		return err
	}
	return p.guard.Start()
}

// Start starts one that was stopped.
func (p *Pooler) Start() error {
	program, err := poolerProgram()
	if err != nil {
		return err
	}
	if err := p.command(program, "-q", "-d", filepath.Join(p.dir, "config")).Run(); err != nil {
		return fmt.Errorf("pgbouncer: %w%s", err, p.logTail())
	}
	return p.await(true)
}

// Stop ends it, and with it every connection through it.
func (p *Pooler) Stop() error {
	text, err := os.ReadFile(filepath.Join(p.dir, "pid"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	return p.await(false)
}

// await waits until connections are taken, or are not.
func (p *Pooler) await(taken bool) error {
	for range 500 {
		c, err := net.DialTimeout("tcp", p.address(), time.Second)
		if err == nil {
			_ = c.Close()
		}
		if (err == nil) == taken {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("pgbouncer: connections taken %t does not come%s", taken, p.logTail())
}

func (p *Pooler) logTail() string {
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return lastLines(log, 5)
}

// command is a command as the user that the pooler runs as.
func (p *Pooler) command(name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(context.Background(), name, args...)
	c.Dir = p.dir
	c.SysProcAttr = &syscall.SysProcAttr{Credential: p.as}
	return c
}

// poolerProgram looks where Debian puts it, too: that may not be on a user's PATH.
func poolerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNoPooler
}
