package runtime_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/runtime/certs"
	"github.com/gyre-events/gyre/sdk"
)

// issued makes certificates for this machine, and for hosts, in a directory.
func issued(t *testing.T, hosts ...string) (dir string, files certs.Files) {
	t.Helper()
	dir = t.TempDir()
	if err := certs.WriteNew(dir, append([]string{"localhost", "127.0.0.1"}, hosts...)...); err != nil {
		t.Fatal(err)
	}
	return dir, certs.Files{Cert: filepath.Join(dir, certs.CertFile), Key: filepath.Join(dir, certs.KeyFile)}
}

// trusting is for clients that take the CA in a directory.
func trusting(t *testing.T, dir string) *tls.Config {
	t.Helper()
	roots, err := certs.Pool("ca", filepath.Join(dir, certs.CAFile))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{RootCAs: roots}
}

// getOver is the answer to a GET request over TLS.
func getOver(t *testing.T, config *tls.Config, url string) (*http.Response, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := overTLS(config).Do(r)
	if err == nil {
		_ = res.Body.Close()
	}
	return res, err
}

func overTLS(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, ForceAttemptHTTP2: true}}
}

func TestServesTLS(t *testing.T) {
	dir, files := issued(t, "events.internal")
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, TLS: runtime.TLSConfig{Files: files}})
	if !strings.HasPrefix(node.URL(), "https://127.0.0.1:") {
		t.Errorf("url %q", node.URL())
	}
	trust := trusting(t, dir)
	res, err := getOver(t, trust, node.URL()+"/livez")
	if err != nil || res.StatusCode != http.StatusOK || res.ProtoMajor != 1 || res.TLS.Version != tls.VersionTLS13 {
		t.Fatalf("%+v, %v", res, err)
	}
	res, err = getOver(t, &tls.Config{RootCAs: trust.RootCAs, MaxVersion: tls.VersionTLS12}, node.URL()+"/livez")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("TLS 1.2: %v", err)
	}
	if _, err := getOver(t, &tls.Config{RootCAs: trust.RootCAs, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, node.URL()+"/livez"); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	client, err := sdk.Dial(t.Context(), node.URL(), sdk.Options{TLS: trust})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	metrics, err := overTLS(trust).Get(node.URL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = metrics.Body.Close() }()
	if text, err := io.ReadAll(metrics.Body); err != nil || !regexp.MustCompile(`(?m)^gyre_tls_certificate_not_after_timestamp_seconds 1\.\d+e\+09$`).Match(text) {
		t.Errorf("the end of the certificate is no metric: %v", err)
	}
	large := commit("s", "A")
	large.Appends[0].Events[0].Data = []byte(`"` + strings.Repeat("x", 512<<10) + `"`)
	if _, err := client.Append(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if page, err := client.Read(t.Context(), core.ReadRequest{Stream: "s"}); err != nil || page.Count != 1 {
		t.Errorf("%d events, %v", page.Count, err)
	}
	if _, err := client.Server(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTLSErrorsSayWhatToDo: each has its code, and a text that names what is wrong.
func TestTLSErrorsSayWhatToDo(t *testing.T) {
	dir, files := issued(t)
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, TLS: runtime.TLSConfig{Files: files}})
	plain := start(t, runtime.Config{Engine: runtime.EngineMemory})
	files.ClientCA = filepath.Join(dir, certs.CAFile)
	mutual := start(t, runtime.Config{Engine: runtime.EngineMemory, TLS: runtime.TLSConfig{Files: files}})
	trust := trusting(t, dir)
	elsewhere := &tls.Config{RootCAs: trust.RootCAs, ServerName: "events.internal"}
	for name, c := range map[string]struct {
		url  string
		tls  *tls.Config
		says string
	}{
		"an unknown authority":  {node.URL(), nil, "authority that is not known here"},
		"another host":          {node.URL(), elsewhere, "for another host"},
		"no https":              {"http://" + node.Addr(), nil, "serves TLS only: call it by https://"},
		"https to a plain node": {"https://" + plain.Addr(), trust, "does not serve TLS"},
		"no certificate":        {mutual.URL(), trust, "wants a client's certificate"},
	} {
		client, err := sdk.Dial(t.Context(), c.url, sdk.Options{TLS: c.tls})
		if err == nil {
			_ = client.Close()
		}
		if !errors.Is(err, core.CodeTlsFailed) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := sdk.Dial(t.Context(), mutual.URL(), sdk.Options{TLS: &tls.Config{RootCAs: trust.RootCAs, Certificates: []tls.Certificate{pair}}})
	if err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
}

// TestCertificateIsRotated replaces it while a connection goes on.
func TestCertificateIsRotated(t *testing.T) {
	dir, files := issued(t)
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, TLS: runtime.TLSConfig{Files: files}})
	client, err := sdk.Dial(t.Context(), node.URL(), sdk.Options{TLS: trusting(t, dir), Once: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	next, _ := issued(t)
	for _, name := range []string{certs.KeyFile, certs.CertFile} {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	trust := trusting(t, next)
	by := time.Now().Add(20 * time.Second) // it takes certs.CheckEvery
	for {
		if _, err = getOver(t, trust, node.URL()+"/livez"); err == nil || time.Now().After(by) {
			break
		}
		time.Sleep(50 * time.Millisecond) // nothing says when the files are read again
	}
	if err != nil {
		t.Errorf("with the CA of the new certificate: %v", err)
	}
	if _, err := client.Append(t.Context(), commit("s", "A")); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
}

// TestSilentHandshake: a client that begins no handshake holds up nobody.
func TestSilentHandshake(t *testing.T) {
	dir, files := issued(t)
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, TLS: runtime.TLSConfig{Files: files}})
	silent, err := net.Dial("tcp", node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if _, err := getOver(t, trusting(t, dir), node.URL()+"/livez"); err != nil {
		t.Error(err)
	}
}

func TestStartRefusesCertificates(t *testing.T) {
	_, files := issued(t)
	_, other := issued(t)
	for name, c := range map[string]struct {
		tls  runtime.TLSConfig
		says string
	}{
		"a key alone":            {runtime.TLSConfig{Files: certs.Files{Key: files.Key}}, "set both, or none"},
		"a certificate alone":    {runtime.TLSConfig{Files: certs.Files{Cert: files.Cert}}, "set both, or none"},
		"the key of another":     {runtime.TLSConfig{Files: certs.Files{Cert: files.Cert, Key: other.Key}}, "one certificate and its key"},
		"a client CA alone":      {runtime.TLSConfig{Files: certs.Files{ClientCA: files.Cert}}, "set tls-cert and tls-key as well"},
		"TLS and its opposite":   {runtime.TLSConfig{Files: files, Plaintext: true}, "contradict each other"},
		"files that are nowhere": {runtime.TLSConfig{Files: certs.Files{Cert: "nowhere", Key: "nowhere"}}, "no such file"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		node, err := runtime.Start(ctx, runtime.Config{Listen: "127.0.0.1:0", Engine: runtime.EngineMemory, TLS: c.tls})
		cancel()
		if err == nil {
			stop(t, node)
		}
		if !errors.Is(err, core.CodeInvalidConfig) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
