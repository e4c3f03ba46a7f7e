package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/secret"
)

const (
	// CheckEvery is how old what was read of the files may be at a handshake.
	CheckEvery = 2 * time.Second
	// warnBefore is when the log begins to warn that the certificate ends, and warnEvery how
	// often it does.
	warnBefore = 14 * 24 * time.Hour
	warnEvery  = 24 * time.Hour
	// maxFile is more than any chain of certificates has.
	maxFile = 1 << 20
)

// Files are the names of a node's files, in PEM. Cert and Key are required.
type Files struct {
	Cert string // the node's certificate, and those between it and its CA
	Key  string // its private key
	// ClientCA has the CAs that sign the certificates of clients, and of other nodes.
	// Without it clients need no certificate.
	ClientCA string
	// CA has the CAs that sign the certificates of other nodes. The default is ClientCA, and
	// without that the machine's.
	CA string
}

// Set is what is in Files now.
type Set struct {
	files  Files
	logger *slog.Logger
	newest atomic.Pointer[loaded]

	checking sync.Mutex // held by the one that reads the files; protects the fields below
	checked  time.Time
	seen     [][]byte  // the newest content of the files, good or bad
	warned   time.Time // when the log has last warned that the certificate ends
}

// loaded does not change.
type loaded struct {
	leaf           *x509.Certificate
	server, client *tls.Config
}

// Open reads the files. The error is invalid_config.
func Open(files Files, logger *slog.Logger) (*Set, error) {
	s := &Set{files: files, logger: logger, checked: time.Now()}
	var err error
	if s.seen, err = s.files.read(); err != nil {
		return nil, err
	}
	first, err := files.load(s.seen)
	if err != nil {
		return nil, err
	}
	s.newest.Store(first)
	s.warn(s.checked)
	return s, nil
}

// NotAfter is when the certificate ends.
func (s *Set) NotAfter() time.Time { return s.now().leaf.NotAfter }

// Server is for a listener.
func (s *Set) Server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.now().server, nil
	}}
}

// Client is for one connection to another node, at the present. It must not be changed.
func (s *Set) Client() *tls.Config { return s.now().client }

// Names are the host names that the certificate is for, without those with a wildcard.
func (s *Set) Names() []string {
	return slices.DeleteFunc(slices.Clone(s.now().leaf.DNSNames), func(name string) bool { return name[0] == '*' })
}

// CheckOwn checks that other nodes, which have the same CAs, take the certificate for a host.
// The error is invalid_config.
func (s *Set) CheckOwn(host string) error {
	l := s.now()
	between := x509.NewCertPool()
	for _, der := range l.server.Certificates[0].Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	uses := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if s.files.ClientCA != "" {
		uses = append(uses, x509.ExtKeyUsageClientAuth)
	}
	for _, use := range uses {
		_, err := l.leaf.Verify(x509.VerifyOptions{Roots: l.client.RootCAs, Intermediates: between, DNSName: host, KeyUsages: []x509.ExtKeyUsage{use}})
		switch unknown := (x509.UnknownAuthorityError{}); {
		case errors.As(err, &unknown):
			return core.Errorf(core.CodeInvalidConfig, "tls-cert: other nodes would not take %s: %w; name the CA that signed it with tls-ca", s.files.Cert, err)
		case err != nil:
			return core.Errorf(core.CodeInvalidConfig, "tls-cert: other nodes dial %s, and would not take %s: %w; get one for that host, for servers and clients, or set advertise to a host that it names", host, s.files.Cert, err)
		}
	}
	return nil
}

// now returns what the files have, after a look at them if the last was a while ago. One
// caller looks, the others do not wait for it.
func (s *Set) now() *loaded {
	if s.checking.TryLock() {
		if now := time.Now(); now.Sub(s.checked) >= CheckEvery {
			s.checked = now
			s.check()
			s.warn(now)
		}
		s.checking.Unlock()
	}
	return s.newest.Load()
}

// warn logs that the certificate ends soon.
func (s *Set) warn(now time.Time) {
	ends := s.newest.Load().leaf.NotAfter
	if ends.Sub(now) > warnBefore || now.Sub(s.warned) < warnEvery {
		return
	}
	s.warned = now
	s.logger.Warn("the certificate ends soon: renew it, and replace its files", "file", s.files.Cert, "expires", ends)
}

// check reads the files again.
func (s *Set) check() {
	texts, err := s.files.read()
	if err == nil && slices.EqualFunc(texts, s.seen, bytes.Equal) {
		return
	}
	var next *loaded
	if err == nil {
		next, err = s.files.load(texts)
	}
	switch {
	case err == nil:
		s.newest.Store(next)
		s.logger.Info("certificates were read again", "file", s.files.Cert, "expires", next.leaf.NotAfter)
	case texts != nil || s.seen != nil: // else it was said before
		s.logger.Warn("the new certificates are of no use; those from before stay", "error", err)
	}
	s.seen = texts
}

// read returns the content of each file, nil of those that are not named.
func (f *Files) read() ([][]byte, error) {
	texts := make([][]byte, 4)
	for i, file := range []struct{ name, path string }{{"tls-cert", f.Cert}, {"tls-key", f.Key}, {"tls-client-ca", f.ClientCA}, {"tls-ca", f.CA}} {
		if file.path == "" {
			continue
		}
		var err error
		if file.name == "tls-key" {
			texts[i], err = secret.Read(file.path, maxFile)
		} else {
			texts[i], err = readFile(file.path)
		}
		if err != nil {
			return nil, core.Errorf(core.CodeInvalidConfig, "%s: %w", file.name, err)
		}
	}
	return texts, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1)) // it may be a device
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes, so it is no certificate", path, maxFile)
	}
	return text, err
}

// load makes what read has read.
func (f *Files) load(texts [][]byte) (*loaded, error) {
	pair, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-cert %s and tls-key %s: %w; they must be the PEM files of one certificate and its key", f.Cert, f.Key, err)
	}
	switch now, leaf := time.Now(), pair.Leaf; {
	case now.After(leaf.NotAfter):
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-cert: %s has expired, on %s; renew it", f.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-cert: %s is not valid before %s; check the clock of this machine", f.Cert, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	l := &loaded{leaf: pair.Leaf}
	l.server = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair}}
	l.client = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, Certificates: []tls.Certificate{pair}}
	if f.ClientCA != "" {
		if l.server.ClientCAs, err = pool("tls-client-ca", f.ClientCA, texts[2]); err != nil {
			return nil, err
		}
		l.server.ClientAuth = tls.RequireAndVerifyClientCert
		l.server.SessionTicketsDisabled = true // a CA that is taken away is so at the next handshake
		l.client.RootCAs = l.server.ClientCAs
	}
	if f.CA != "" {
		l.client.RootCAs, err = pool("tls-ca", f.CA, texts[3])
	}
	return l, err
}

// Pool reads a file of CAs. The error is invalid_config, and calls the file by name.
func Pool(name, path string) (*x509.CertPool, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidConfig, "%s: %w", name, err)
	}
	return pool(name, path, text)
}

func pool(name, path string, text []byte) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, core.Errorf(core.CodeInvalidConfig, "%s: %s has no certificate; it takes those of CAs, in PEM", name, path)
	}
	return p, nil
}
