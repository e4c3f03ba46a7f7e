package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// dir is a directory with the files of a test.
type dir string

func (d dir) path(name string) string { return filepath.Join(string(d), name) }

func (d dir) write(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(d.path(name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key.
func (d dir) issue(t *testing.T, a *Authority, name string, at time.Time, hosts ...string) Files {
	t.Helper()
	cert, key, err := a.Issue(at, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, name+".pem", cert)
	d.write(t, name+".key", key)
	return Files{Cert: d.path(name + ".pem"), Key: d.path(name + ".key")}
}

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenRefuses(t *testing.T) {
	d, a := dir(t.TempDir()), newAuthority(t)
	good := d.issue(t, a, "good", time.Now(), "localhost")
	other := d.issue(t, a, "other", time.Now(), "localhost")
	old := d.issue(t, a, "old", time.Now().Add(-2*Lifetime), "localhost")
	early := d.issue(t, a, "early", time.Now().Add(Lifetime), "localhost")
	open := d.issue(t, a, "open", time.Now(), "localhost")
	if err := os.Chmod(open.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	d.write(t, "empty", nil)
	d.write(t, "large", make([]byte, maxFile+1))
	for name, c := range map[string]struct {
		files Files
		says  string
	}{
		"another key":         {Files{Cert: good.Cert, Key: other.Key}, "must be the PEM files of one certificate and its key"},
		"expired":             {old, "has expired, on "},
		"not yet valid":       {early, "is not valid before "},
		"a key others read":   {open, "chmod 600 " + open.Key},
		"no certificate":      {Files{Cert: d.path("nowhere"), Key: good.Key}, "no such file"},
		"no key":              {Files{Cert: good.Cert, Key: d.path("nowhere")}, "no such file"},
		"a directory":         {Files{Cert: string(d), Key: good.Key}, "directory"},
		"an empty file":       {Files{Cert: d.path("empty"), Key: good.Key}, "PEM"},
		"a large file":        {Files{Cert: d.path("large"), Key: good.Key}, "it is no certificate"},
		"files of each other": {Files{Cert: good.Key, Key: good.Cert}, "PEM"},
		"no client CA":        {Files{Cert: good.Cert, Key: good.Key, ClientCA: d.path("empty")}, "tls-client-ca: " + d.path("empty") + " has no certificate"},
		"no CA":               {Files{Cert: good.Cert, Key: good.Key, CA: good.Key}, "tls-ca: " + good.Key + " has no certificate"},
	} {
		_, err := Open(c.files, slog.New(slog.DiscardHandler))
		if !errors.Is(err, core.CodeInvalidConfig) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// handshake is what a client of roots gets of a Set: the serial number of the certificate.
func handshake(t *testing.T, s *Set, client *tls.Config) (serial string, err error) {
	t.Helper()
	here, there := net.Pipe()
	server := tls.Server(there, s.Server())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = server.Write([]byte("x")) // the client's error says more
		_ = server.Close()
	}()
	conn := tls.Client(here, client)
	_, err = io.ReadAll(conn) // also what the server thinks of this side's certificate
	_ = conn.Close()
	<-done
	if err != nil {
		return "", err
	}
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

// TestFilesChange replaces files under a Set. Time is virtual.
func TestFilesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d, a := dir(t.TempDir()), newAuthority(t)
		d.write(t, "ca.pem", a.PEM())
		files := d.issue(t, a, "node", time.Now(), "localhost")
		s, err := Open(files, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		roots, err := Pool("tls-ca", d.path("ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		client := &tls.Config{RootCAs: roots, ServerName: "localhost"}
		serial := func() string {
			t.Helper()
			serial, err := handshake(t, s, client)
			if err != nil {
				t.Fatal(err)
			}
			return serial
		}
		first := serial()
		// A pair of which one file is new is none.
		next := d.issue(t, a, "next", time.Now(), "localhost")
		text, err := os.ReadFile(next.Cert)
		if err != nil {
			t.Fatal(err)
		}
		d.write(t, "node.pem", text)
		for range 3 {
			time.Sleep(CheckEvery)
			if serial() != first {
				t.Fatal("a pair that does not match was taken up")
			}
		}
		if n := strings.Count(log.String(), "those from before stay"); n != 1 {
			t.Errorf("a bad pair was logged %d times:\n%s", n, log.String())
		}
		if err := os.Rename(next.Key, files.Key); err != nil {
			t.Fatal(err)
		}
		if serial() != first {
			t.Error("files were read again at once")
		}
		time.Sleep(CheckEvery)
		second := serial()
		if second == first {
			t.Fatal("new files were not taken up")
		}
		// Files that are gone, or over, change nothing.
		if err := os.Remove(files.Key); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(CheckEvery)
			if serial() != second {
				t.Error("the certificate is gone with its file")
			}
		}
		d.issue(t, a, "node", time.Now().Add(-2*Lifetime), "localhost")
		time.Sleep(CheckEvery)
		if serial() != second {
			t.Error("an expired certificate was taken up")
		}
		if n := strings.Count(log.String(), "those from before stay"); n != 3 {
			t.Errorf("%d of 3 bad states were logged:\n%s", n, log.String())
		}
	})
}

func TestVersionsAndClients(t *testing.T) {
	d, a := dir(t.TempDir()), newAuthority(t)
	d.write(t, "ca.pem", a.PEM())
	files := d.issue(t, a, "node", time.Now(), "localhost", "127.0.0.1", "*.gyre", "events.internal")
	files.ClientCA = d.path("ca.pem")
	s, err := Open(files, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stranger := dir(t.TempDir())
	stranger.write(t, "ca.pem", newAuthority(t).PEM())
	strange, err := Open(Files{
		Cert: stranger.issue(t, newAuthority(t), "x", time.Now(), "localhost").Cert, Key: stranger.path("x.key"), CA: d.path("ca.pem"),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	roots := s.Client().RootCAs
	for name, c := range map[string]struct {
		client *tls.Config
		takes  bool
	}{
		"a node":                   {s.Client(), true},
		"no certificate":           {&tls.Config{RootCAs: roots}, false},
		"a certificate of another": {strange.Client(), false},
		"TLS 1.2":                  {&tls.Config{RootCAs: roots, Certificates: s.Client().Certificates, MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.1":                  {&tls.Config{RootCAs: roots, Certificates: s.Client().Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
	} {
		config := c.client.Clone()
		config.ServerName = "localhost"
		if _, err := handshake(t, s, config); (err == nil) != c.takes {
			t.Errorf("%s: %v", name, err)
		}
	}
	for host, ok := range map[string]bool{"127.0.0.1": true, "node1.gyre": true, "10.0.0.1": false, "gyre": false} {
		if err := s.CheckOwn(host); (err == nil) != ok || err != nil && !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("the certificate for %s: %v", host, err)
		}
	}
	if names := s.Names(); len(names) != 2 || names[1] != "events.internal" {
		t.Errorf("names: %q", names)
	}
}

func TestWriteNew(t *testing.T) {
	d := dir(filepath.Join(t.TempDir(), "new"))
	if err := WriteNew(string(d), "localhost", "::1"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{CAFile, CertFile, KeyFile} {
		if info, err := os.Stat(d.path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	s, err := Open(Files{Cert: d.path(CertFile), Key: d.path(KeyFile), CA: d.path(CAFile)}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckOwn("::1"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(d.path(KeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := WriteNew(string(d), "localhost"); !errors.Is(err, core.CodeInvalidConfig) {
		t.Errorf("over files that are there: %v", err)
	}
	if _, err := os.Stat(d.path(KeyFile)); err == nil {
		t.Error("half of the files were written")
	}
	for _, host := range []string{"", "a b", "http://x", "x:4973", "*", "a..b"} {
		if err := WriteNew(t.TempDir(), host); !errors.Is(err, core.CodeInvalidConfig) {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

// TestAnEndIsAnnounced: from 14 days before a certificate ends, the log says so each day. Time
// is virtual.
func TestAnEndIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, a := dir(t.TempDir()), newAuthority(t)
		var log bytes.Buffer
		s, err := Open(d.issue(t, a, "node", time.Now(), "localhost"), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ends := s.NotAfter()
		for _, c := range []struct {
			before time.Duration
			said   int
		}{{warnBefore + time.Minute, 0}, {warnBefore, 1}, {warnBefore - time.Hour, 1}, {warnBefore - warnEvery, 2}, {time.Hour, 3}} {
			time.Sleep(time.Until(ends) - c.before)
			if s.NotAfter() != ends || strings.Count(log.String(), "ends soon") != c.said {
				t.Errorf("%s before: %s", c.before, &log)
			}
		}
	})
}
