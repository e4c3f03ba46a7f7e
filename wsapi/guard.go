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

func newGuard(c *Config) guard {
	g := guard{hosts: map[string]bool{"localhost": true}}
	for _, h := range c.AllowHosts {
		g.hosts[hostName(h)] = true
	}
	for _, o := range c.AllowOrigins {
		g.origins = append(g.origins, strings.ToLower(strings.TrimSuffix(o, "/")))
	}
	return g
}

// check refuses a request; strict is for those that change something or open a
// connection.
func (g *guard) check(r *http.Request, strict bool) error {
	name := hostName(r.Host)
	if _, err := netip.ParseAddr(name); err != nil && !g.hosts[name] {
		return core.Errorf(core.CodeHostNotAllowed, "host %q is not one of this node", clip(name))
	}
	if strict && !g.originAllowed(r) {
		return core.Errorf(core.CodeOriginNotAllowed, "origin %q is not allowed", clip(r.Header.Get("Origin")))
	}
	return nil
}

// originAllowed reports whether the request may come from where it does. Programs
// that are not browsers send no Origin.
func (g *guard) originAllowed(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	origin := strings.ToLower(values[0])
	if len(values) > 1 {
		return false
	}
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	return g.listed(origin)
}

// listed reports whether the origin is configured, so that its pages may also read
// what they are answered.
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

// clip shortens what a client sent for use in a message.
func clip(s string) string {
	const max = 80
	if len(s) > max {
		s = s[:max] + "…"
	}
	return strings.ToValidUTF8(s, "�")
}
