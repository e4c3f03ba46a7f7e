package wsapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// guard keeps web pages from using a browser to reach a node that it can reach and
// they cannot. The Host check is against DNS rebinding, the Origin check against
// requests that a page sends to another site.
type guard struct {
	hosts   map[string]bool
	origins []string
}

func newGuard(hosts, origins []string) guard {
	g := guard{hosts: map[string]bool{"localhost": true}}
	for _, h := range hosts {
		g.hosts[hostName(h)] = true
	}
	for _, o := range origins {
		g.origins = append(g.origins, strings.ToLower(strings.TrimSuffix(o, "/")))
	}
	return g
}

// admit refuses a request to a host that is not allowed. If it is strict, as for requests
// that change something or open a connection, it also refuses other origins than the own
// and the listed. Pages of these may read the response, whose headers are h.
func (g *guard) admit(h http.Header, r *http.Request, strict bool) error {
	name := hostName(r.Host)
	if _, err := netip.ParseAddr(name); err != nil && !g.hosts[name] {
		return core.Errorf(core.CodeHostNotAllowed, "host %q is not one of this node", core.Clip(name))
	}
	if strict && !g.originAllowed(r) {
		return core.Errorf(core.CodeOriginNotAllowed, "origin %q is not allowed", core.Clip(r.Header.Get("Origin")))
	}
	if len(g.origins) > 0 {
		h.Add("Vary", "Origin")
	}
	if origin := r.Header.Get("Origin"); origin != "" && g.listed(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "*")
	}
	return nil
}

// preflight lets pages of the listed origins send requests with these methods and any
// headers. They may do everything that other clients may.
func (g *guard) preflight(h http.Header, r *http.Request, methods string) {
	if !g.listed(r.Header.Get("Origin")) {
		return
	}
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Max-Age", "600")
	h.Add("Vary", "Access-Control-Request-Headers")
	if names := tokens(r.Header.Values("Access-Control-Request-Headers")); len(names) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(names, ", "))
	}
}

// tokens are the elements of a list of header names that are such names.
func tokens(lists []string) (names []string) {
	for name := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		if name = strings.TrimSpace(name); isToken(name) {
			names = append(names, name)
		}
	}
	return names
}

// isToken reports whether s is a token as of RFC 9110.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// originAllowed reports whether a page of the request's origin may send it. Programs
// that are not browsers send no Origin.
func (g *guard) originAllowed(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	if len(values) > 1 {
		return false
	}
	return isOwn(values[0], r) || g.listed(values[0])
}

// isOwn reports whether an origin is the one that the request was sent to. A proxy may
// have taken TLS away, so one with https may be, too; one with http is not if the request
// came over TLS, for then anybody on the way could have written the page.
func isOwn(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && !cameOverTLS(r)
}

// cameOverTLS reports whether a request says that it came over TLS, to the node or to a proxy
// before it. Who says so falsely loses only what is allowed without TLS.
func cameOverTLS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// listed reports whether the origin is configured.
func (g *guard) listed(origin string) bool {
	return slices.Contains(g.origins, strings.ToLower(origin)) || slices.Contains(g.origins, "*")
}

// hostName is the name of host[:port], in the form names are compared in.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
