package formation

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxText bounds what a file or a command says.
	maxText = 64 << 10
	// maxHost is the longest name of a host.
	maxHost = 253
	// maxQuoted bounds what an error quotes of what is no address.
	maxQuoted = 60
)

// ErrNoAddress is the error of a list that is empty.
var ErrNoAddress = errors.New("it has no address")

// addresses reads the addresses of a text: HOST or HOST:PORT, with white space or commas
// between. What follows # is a comment, up to the end of the line. port is that of a host
// without one.
func addresses(text, port string) (list []string, err error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("it has more than %d bytes", maxText)
	}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, "#")
		for _, field := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) }) {
			address, err := Address(field, port)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			list = append(list, address)
		}
	}
	if len(list) == 0 {
		return nil, ErrNoAddress
	}
	return list, nil
}

// Address completes HOST or HOST:PORT to host:port.
func Address(text, port string) (string, error) {
	host := text
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if h, _, err := net.SplitHostPort(text + ":0"); err == nil {
		host = h // without its brackets
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || !isHost(host) {
		return "", fmt.Errorf("%.*q is not HOST or HOST:PORT", maxQuoted, text)
	}
	return net.JoinHostPort(host, port), nil
}

// isHost reports whether a text can name a host: an IP address, or a name of DNS.
func isHost(host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	return host != "" && len(host) <= maxHost && utf8.ValidString(host) && !strings.ContainsFunc(host, func(r rune) bool {
		return !strings.ContainsRune("-._", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
