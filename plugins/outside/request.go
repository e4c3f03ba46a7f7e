package outside

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Bounds of requests and responses.
const (
	MaxBodyBytes   = 1 << 20 // of a request, and of a response
	maxURLBytes    = 8 << 10
	maxHeaders     = 64
	maxHeaderBytes = 16 << 10 // of a request
)

// Request is what a handler asks for.
type Request struct {
	// What a handler has to say.
	Method  string            `json:"method"` // GET if it is left out
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"bodyBase64"`

	// Server is the host:port of the URL.
	Server string `json:"-"`
	// Key is the Idempotency-Key: the same whenever the call is made again.
	Key string `json:"-"`
	// Private allows addresses that are not public.
	Private bool `json:"-"`
}

// Response is what a server has answered.
type Response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"` // names are in lower case; values of one are joined by ", "
	Body    []byte            `json:"bodyBase64,omitempty"`
}

// Encode is the JSON of a response, for a handler.
func (r *Response) Encode() []byte {
	text, _ := json.Marshal(r) // it always can be
	return text
}

var (
	methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
	// ours are headers that the node sets, or that are about its connection.
	ours = []string{
		"connection", "content-length", "expect", "host", "idempotency-key", "keep-alive", "proxy-authorization", "proxy-connection",
		"te", "trailer", "transfer-encoding", "upgrade",
	}
	token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
)

// Decode decodes a request of a handler, a JSON object {method, url, headers, bodyBase64}. No error
// has a value of it, which may be secret.
func Decode(text []byte) (*Request, error) {
	r := &Request{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(r) != nil {
		return nil, errors.New("the request is not a JSON object {method, url, headers, bodyBase64}")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the request")
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	switch {
	case !slices.Contains(methods, r.Method):
		return nil, fmt.Errorf("the method is none of %s", strings.Join(methods, ", "))
	case len(r.Body) > MaxBodyBytes:
		return nil, fmt.Errorf("the body has %d bytes, at most %d are allowed", len(r.Body), MaxBodyBytes)
	}
	var err error
	if r.Server, err = serverOf(r.URL); err != nil {
		return nil, err
	}
	return r, checkHeaders(r.Headers)
}

// serverOf is the host:port of a URL.
func serverOf(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURLBytes || u.Hostname() == "" || u.Opaque != "" {
		return "", errors.New("the url is none such as https://api.example.com/hooks?id=1")
	}
	if u.User != nil {
		return "", errors.New("the url has a user; send a header Authorization instead")
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("the url is of neither https nor http")
	case port == "" && u.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port), nil
}

func checkHeaders(headers map[string]string) error {
	if len(headers) > maxHeaders {
		return fmt.Errorf("there are %d headers, at most %d are allowed", len(headers), maxHeaders)
	}
	size := 0
	for name, value := range headers {
		size += len(name) + len(value)
		isText := !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
		switch {
		case !token.MatchString(name) || !isText:
			return errors.New("a header has a name or a value that none can have")
		case slices.Contains(ours, strings.ToLower(name)):
			return fmt.Errorf("the header %s is the node's to set", strings.ToLower(name))
		}
	}
	if size > maxHeaderBytes {
		return fmt.Errorf("the headers have %d bytes, at most %d are allowed", size, maxHeaderBytes)
	}
	return nil
}
