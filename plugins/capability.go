package plugins

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
)

// CapabilityKind is what a capability lets a plugin do.
type CapabilityKind string

// The kinds of capabilities. Reading the batch, the configuration, logs and metrics need none.
const (
	CanAppend      CapabilityKind = "append"       // append to streams that match the scope
	CanUseState    CapabilityKind = "state"        // read and write the binding's state; no scope
	CanReadStreams CapabilityKind = "streams.read" // read streams that match the scope, by default all
	CanCallHTTP    CapabilityKind = "http"         // call one host:port; see Calls
	CanReadSecret  CapabilityKind = "secret"       // read one secret
)

// Capability is a kind with a scope: a pattern of streams, in which '*' stands for any
// characters, a host and port, or the name of a secret. As text it is KIND or KIND:SCOPE, such as
// append:order-*.
type Capability struct {
	Kind  CapabilityKind
	Scope string
}

const (
	maxCapabilities    = 64
	maxSecretNameBytes = 128
)

// ParseCapability parses the text of a capability. The error is invalid_request.
func ParseCapability(text string) (Capability, error) {
	kind, scope, scoped := strings.Cut(text, ":")
	c := Capability{CapabilityKind(kind), scope}
	var problem string
	switch c.Kind {
	case CanAppend, CanReadStreams:
		if c.Kind == CanReadStreams && !scoped {
			c.Scope = "*"
		}
		filter := core.Filter{Streams: []string{c.Scope}}
		if filter.Validate() != nil {
			problem = "needs a pattern of streams, such as " + kind + ":order-*"
		}
	case CanUseState:
		if scoped {
			problem = "has no scope: write state"
		}
	case CanCallHTTP:
		if !isHostPort(strings.TrimSuffix(scope, atPrivate)) {
			problem = "needs a host and a port, such as http:api.example.com:443, or http:api.internal:8080/private"
		}
	case CanReadSecret:
		if scope == "" || !isText(scope, maxSecretNameBytes) {
			problem = "needs the name of a secret, such as secret:API_KEY"
		}
	default:
		problem = "is none of append:PATTERN, state, streams.read:PATTERN, http:HOST:PORT, secret:NAME"
	}
	if problem != "" {
		return Capability{}, core.Errorf(core.CodeInvalidRequest, "capability %q %s", core.Clip(text), problem)
	}
	return c, nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && n > 0 && host != "" && isText(host, 253) && !strings.ContainsAny(host, " */@")
}

// String returns the text of c.
func (c Capability) String() string {
	if c.Kind == CanUseState || c.Kind == CanReadStreams && c.Scope == "*" {
		return string(c.Kind)
	}
	return string(c.Kind) + ":" + c.Scope
}

// allows reports whether c lets a plugin do kind with name.
func (c Capability) allows(kind CapabilityKind, name string) bool {
	if c.Kind != kind {
		return false
	}
	switch kind {
	case CanAppend, CanReadStreams:
		return access.Matches([]string{c.Scope}, name)
	case CanCallHTTP:
		return strings.EqualFold(strings.TrimSuffix(c.Scope, atPrivate), name)
	}
	return c.Scope == name
}

// reads reports whether a plugin gets by it what it may keep.
func (c Capability) reads() bool {
	return c.Kind == CanReadStreams || c.Kind == CanCallHTTP || c.Kind == CanReadSecret
}

// covers reports whether they let a plugin do all that c does.
func (cs Capabilities) covers(c Capability) bool {
	return cs.Allow(c.Kind, strings.TrimSuffix(c.Scope, atPrivate))
}

// atPrivate is the end of a scope of CanCallHTTP whose host may be at a private address.
const atPrivate = "/private"

// Calls reports whether they let a plugin call a host:port, and whether also at an address that is
// not public. A grant of an address is one of that address, whatever it is; a name may be at a
// private one only if its grant ends with /private.
func (cs Capabilities) Calls(hostPort string) (granted, private bool) {
	for _, c := range cs {
		if c.allows(CanCallHTTP, hostPort) {
			_, err := netip.ParseAddrPort(hostPort)
			granted, private = true, private || err == nil || strings.HasSuffix(c.Scope, atPrivate)
		}
	}
	return granted, private
}

// CallOut reports whether they let a plugin call other servers, which is done at least once.
func (cs Capabilities) CallOut() bool {
	return slices.ContainsFunc(cs, func(c Capability) bool { return c.Kind == CanCallHTTP })
}

// Capabilities are what a plugin asks for, or what a binding grants.
type Capabilities []Capability

// Allow reports whether one of them lets a plugin do kind with name: a stream, a host:port, or a
// secret. The name of CanUseState is empty.
func (cs Capabilities) Allow(kind CapabilityKind, name string) bool {
	return slices.ContainsFunc(cs, func(c Capability) bool { return c.allows(kind, name) })
}

// Streams returns patterns of the streams that they let a plugin do kind with.
func (cs Capabilities) Streams(kind CapabilityKind) []string {
	patterns := []string{}
	for _, c := range cs {
		switch {
		case c.Kind != kind:
		case c.Scope == core.All:
			patterns = append(patterns, "*")
		default:
			patterns = append(patterns, c.Scope)
		}
	}
	return patterns
}

// ParseCapabilities parses a list, in which each is once. The error is invalid_request.
func ParseCapabilities(texts []string) (Capabilities, error) {
	if len(texts) > maxCapabilities {
		return nil, core.Errorf(core.CodeInvalidRequest, "there are %d, at most %d are allowed", len(texts), maxCapabilities)
	}
	cs := make(Capabilities, 0, len(texts))
	for _, text := range texts {
		c, err := ParseCapability(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(cs, c) {
			return nil, core.Errorf(core.CodeInvalidRequest, "%q is there twice", core.Clip(text))
		}
		cs = append(cs, c)
	}
	return cs, nil
}
