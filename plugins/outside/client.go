package outside

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// CallTime is how long a call takes at most, with its redirects.
	CallTime = 5 * time.Second

	maxRedirects           = 3
	maxResponseHeaderBytes = 64 << 10
	// idleFor is how long a connection is kept for another call.
	idleFor         = 30 * time.Second
	maxIdlePerHost  = 4
	maxConnsPerHost = 64
)

// Errors of calls, beside those of the network.
var (
	// ErrPrivate is of a server at an address that is not public.
	ErrPrivate = errors.New("the address is private")
	// ErrTooLarge is of a response that is larger than MaxBodyBytes.
	ErrTooLarge = fmt.Errorf("the response has more than %d bytes", MaxBodyBytes)
)

// Client calls servers.
type Client struct {
	public, private *http.Client // share no connections: what one may dial, the other may not
}

// NewClient returns a Client. Close frees its connections. roots are the CAs of the servers; nil are
// the machine's.
func NewClient(roots *tls.Config) *Client {
	return &Client{public: newClient(roots, true), private: newClient(roots, false)}
}

func newClient(config *tls.Config, onlyPublic bool) *http.Client {
	dialer := &net.Dialer{Timeout: CallTime}
	if onlyPublic {
		dialer.Control = checkPublic
	}
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.MinVersion = tls.VersionTLS12
	return &http.Client{
		CheckRedirect: checkRedirect,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: config, TLSHandshakeTimeout: CallTime,
			MaxResponseHeaderBytes: maxResponseHeaderBytes, MaxIdleConnsPerHost: maxIdlePerHost, MaxConnsPerHost: maxConnsPerHost, IdleConnTimeout: idleFor,
		},
	}
}

// Close frees the connections. No call is under way.
func (c *Client) Close() {
	c.public.CloseIdleConnections()
	c.private.CloseIdleConnections()
}

// Call sends a request that Decode has decoded, and returns the response. No error has a value of the
// request.
func (c *Client) Call(ctx context.Context, r *Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("the request cannot be sent")
	}
	for name, value := range r.Headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Idempotency-Key", r.Key)
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "gyre-plugin")
	}
	client := c.public
	if r.Private {
		client = c.private
	}
	answer, err := client.Do(request)
	if err != nil {
		return nil, plain(err)
	}
	defer func() { _ = answer.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(answer.Body, MaxBodyBytes+1))
	switch {
	case err != nil:
		return nil, plain(err)
	case len(body) > MaxBodyBytes:
		return nil, ErrTooLarge
	}
	response := &Response{Status: answer.StatusCode, Headers: make(map[string]string, len(answer.Header)), Body: body}
	for name, values := range answer.Header {
		response.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return response, nil
}

// plain is an error without the URL, which may have a secret.
func plain(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		err = of.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("there was no whole response within the time: %w", context.DeadlineExceeded)
	}
	return err
}

// checkRedirect follows to the server that was granted, and no other.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first, to := via[0].URL, next.URL
	server, err := serverOf(to.String())
	granted, _ := serverOf(first.String()) // it was called
	if err != nil || to.Scheme != first.Scheme || server != granted {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("the server redirects more than %d times", maxRedirects)
	}
	return nil
}

// checkPublic refuses to dial an address that is not public.
func checkPublic(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !isPublic(to.Addr()) {
		return fmt.Errorf("%w: %s", ErrPrivate, address)
	}
	return nil
}

// reserved are addresses that are global by their form, and not by what they are for.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
}

// translated has addresses of IPv4 in their last 4 bytes.
var translated = netip.MustParsePrefix("64:ff9b::/96")

// isPublic reports whether everybody can reach an address, as far as it shows.
func isPublic(a netip.Addr) bool {
	if a = a.Unmap(); translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(reserved, func(p netip.Prefix) bool { return p.Contains(a) })
}
