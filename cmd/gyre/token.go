package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/secret"
)

const (
	// tokenFileHelp is the help of --token-file.
	tokenFileHelp = "file with the key, which only you may read (env GYRE_TOKEN has the key itself, default ~/.config/gyre/token)"
	// maxTokenFile is more than a key has.
	maxTokenFile = 4 << 10
)

// token returns the key for the nodes of a URL: that of a file, else of the environment, else of
// the saved file, which goes to nobody who reads along. "" is none.
func (a *app) token(file, url string) (string, error) {
	if file != "" {
		return readToken(file)
	}
	if token := strings.TrimSpace(a.getenv("GYRE_TOKEN")); token != "" {
		return token, nil
	}
	saved, err := tokenPath()
	if err != nil || !isPrivate(url) {
		return "", nil // without a home there is no saved key
	}
	token, err := readToken(saved)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil
	}
	return token, err
}

// heldBack adds to the error of a node that wants a key that a saved one was not sent to it.
func (a *app) heldBack(url string, err error) error {
	saved, pathErr := tokenPath()
	if pathErr != nil || isPrivate(url) {
		return err
	}
	if _, statErr := os.Stat(saved); statErr != nil {
		return err // there is none
	}
	return &advised{
		core.Errorf(core.CodeUnauthenticated, "%s; the key in %s was held back, because without TLS others can read it on its way to %s", core.AsError(err).Detail, saved, url),
		"Call the node by https://. On a network that you trust, send the key all the same: --token-file " + saved,
	}
}

// isPrivate reports whether nobody else can read what goes to any of the addresses in a URL:
// over TLS, or to this machine.
func isPrivate(url string) bool {
	for one := range strings.SplitSeq(url, ",") {
		scheme, rest, found := strings.Cut(strings.TrimSpace(one), "://")
		if !found {
			scheme, rest = "http", scheme
		}
		if scheme == "https" || scheme == "wss" {
			continue
		}
		rest, _, _ = strings.Cut(rest, "/")
		host, _, err := net.SplitHostPort(rest)
		if err != nil {
			host = rest
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if host != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// readToken reads the key of a file, which secret.Read does not find exposed. No error has
// any of the file's text.
func readToken(name string) (string, error) {
	text, err := secret.Read(name, maxTokenFile)
	var exposed *secret.Exposed
	switch {
	case errors.As(err, &exposed):
		err := core.Errorf(core.CodeInvalidConfig, "%s", exposed.Why)
		return "", &advised{err, exposed.Fix + ", and have the key revoked if somebody may have seen it."}
	case err != nil:
		return "", &advised{core.Errorf(core.CodeInvalidConfig, "the key cannot be read: %w", err), "Name a file with a key by --token-file, or set GYRE_TOKEN to the key."}
	}
	token := strings.TrimSpace(string(text))
	if len(strings.Fields(token)) != 1 {
		return "", &advised{core.Errorf(core.CodeInvalidConfig, "%s is no file with one key", name), "gyre auth key create --out FILE writes one."}
	}
	return token, nil
}
