package sdk

import (
	"context"
	"crypto/tls"

	"github.com/gyre-events/gyre/core"
)

// Options are how to reach a node. The zero value is good for a local one.
type Options struct {
	// Name and Version tell the server who calls.
	Name    string
	Version string
	// JSON asks for gyre.v1.json, which can be read on the wire, instead of
	// gyre.v1.bin.
	JSON bool
	// TLS is for wss and https URLs; nil is Go's default.
	TLS *tls.Config
	// OnState is told when the connection comes and goes. It must not block.
	OnState func(State)
}

// State is what a Client tells of its connection.
type State struct {
	Connected bool
	Err       error // why it is not
}

// Client is a core.Log at the other end of a connection.
type Client struct{ url string }

// Dial connects to a node: an http, https, ws or wss URL, host:port, or :port of
// this machine. ctx bounds the first connect only.
func Dial(ctx context.Context, url string, o Options) (*Client, error) {
	return nil, core.Errorf(core.CodeUnavailable, "%s cannot be reached: the client is not complete", url)
}

// Close ends the connection, and every call and follow with it.
func (c *Client) Close() error { return nil }
