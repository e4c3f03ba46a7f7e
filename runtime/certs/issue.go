package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Lifetime is that of issued certificates. Some clients take none that lasts longer.
const Lifetime = 397 * 24 * time.Hour

// backdated is for clocks that differ.
const backdated = time.Hour

// Authority is a CA whose key is in memory only.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a CA. What it issues is valid for Lifetime from now on.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template(name, now)
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert, key}, err
}

// PEM is the certificate of the CA.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.cert.Raw) }

// Issue makes a certificate for hosts, names or IP addresses, as server and as client.
func (a *Authority) Issue(now time.Time, hosts ...string) (cert, key []byte, err error) {
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t := template(hosts[0], now)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &own.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	text, err := x509.MarshalPKCS8PrivateKey(own)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", text), err
}

func template(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{"Gyre"}},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(Lifetime),
	}
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Names of the files that WriteNew makes.
const (
	CAFile   = "ca.pem"
	CertFile = "cert.pem"
	KeyFile  = "key.pem"
)

var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// WriteNew makes a CA, and a certificate of it for hosts, in a directory that it makes if need
// be. It overwrites nothing. The error is invalid_config.
func WriteNew(dir string, hosts ...string) error {
	for _, host := range hosts {
		if net.ParseIP(host) == nil && !hostName.MatchString(host) {
			return core.Errorf(core.CodeInvalidConfig, "%q is neither an IP address nor the name of a host, such as events.internal or *.events.internal", host)
		}
	}
	for _, name := range []string{CAFile, CertFile, KeyFile} {
		if path := filepath.Join(dir, name); fileExists(path) {
			return core.Errorf(core.CodeInvalidConfig, "%s is there already; remove it, or choose another directory", path)
		}
	}
	a, err := NewAuthority("Gyre development CA", time.Now())
	if err != nil {
		return err
	}
	cert, key, err := a.Issue(time.Now(), hosts...)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return core.Errorf(core.CodeInvalidConfig, "%w", err)
	}
	for _, file := range []struct {
		name string
		text []byte
	}{{KeyFile, key}, {CertFile, cert}, {CAFile, a.PEM()}} {
		if err := writeNew(filepath.Join(dir, file.name), file.text); err != nil {
			return err
		}
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return core.Errorf(core.CodeInvalidConfig, "%w", err)
	}
	return nil
}
