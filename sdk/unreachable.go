package sdk

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// plaintextRefused is what Go's server answers to a request without TLS.
const plaintextRefused = "Client sent an HTTP request to an HTTPS server"

// Unreachable returns why a node has not answered a request to url: tls_failed if there is no
// TLS connection to it, else unavailable.
func Unreachable(url string, err error) *core.Error {
	if why := tlsFailure(err); why != "" {
		return core.Errorf(core.CodeTlsFailed, "%s: %s: %w", url, why, err)
	}
	return core.Errorf(core.CodeUnavailable, "%s cannot be reached: %w", url, err)
}

// tlsFailure says what is wrong with TLS; "" if that is not why there is no answer.
func tlsFailure(err error) string {
	var certificate *tls.CertificateVerificationError
	var remote *net.OpError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "its certificate is signed by an authority that is not known here"
	case errors.As(err, new(x509.HostnameError)):
		return "its certificate is for another host"
	case errors.As(err, &certificate):
		return "its certificate is not valid"
	case errors.As(err, new(tls.RecordHeaderError)), err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it does not serve TLS"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return "it ended the TLS handshake; perhaps it wants a client's certificate"
	}
	return ""
}

// refusal returns the error of an answer that is not a success: the catalogue's, if it has one.
func refusal(url string, answer *http.Response) *core.Error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	var e wire.Error
	switch {
	case err == nil && wire.Unmarshal(body, &e) == nil && e.Code.Known():
		return e.Err()
	case answer.StatusCode == http.StatusBadRequest && bytes.Contains(body, []byte(plaintextRefused)):
		return core.Errorf(core.CodeTlsFailed, "%s serves TLS only: call it by https://", url)
	}
	return core.Errorf(core.CodeUnavailable, "%s answered %s", url, answer.Status)
}
