package ws

import (
	"errors"
	"strconv"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
)

// The close codes of gyre.v1. Clients come back after 4000 to 4499.
const (
	closeShutdown        = 4000
	closeSlowWriter      = 4001
	closePingTimeout     = 4002
	closeTokenExpired    = 4003
	closeOverloaded      = 4004
	closeUnauthenticated = 4500
	closeProtocol        = 4502
	closeHello           = 4504
)

// closing is the reason for which the server ends a connection.
type closing struct {
	code int
	err  *core.Error // told before the close frame; nil if there is nothing to say
}

func (c *closing) Error() string { return c.reason() }

// reason is the text of the close frame: machine code first.
func (c *closing) reason() string {
	text := strconv.Itoa(c.code)
	switch {
	case c.err != nil:
		text += " " + string(c.err.Code)
	case c.code == closeShutdown:
		text += " shutdown"
	}
	return text
}

// closeWith makes the end of a connection for an error.
func closeWith(code int, err error) *closing { return &closing{code, core.AsError(err)} }

// closingOf says how to end a connection whose reader failed. nil: the peer is
// gone or has said goodbye.
func closingOf(err error, hello bool) *closing {
	var c *closing
	switch {
	case errors.As(err, &c):
		return c
	case errors.Is(err, requests.ErrTooLarge), errors.Is(err, websocket.ErrReadLimit):
		return closeWith(websocket.CloseMessageTooBig, core.Errorf(core.CodeFrameTooLarge, "the message is larger than the limit"))
	case isTimeout(err) && !hello:
		return closeWith(closeHello, core.Errorf(core.CodeHelloTimeout, "no hello came in time"))
	case isTimeout(err):
		return closeWith(closePingTimeout, core.Errorf(core.CodePingTimeout, "nothing was heard from the client, not even a pong"))
	}
	return nil
}

// closeLabel is the value of gyre_ws_close_total's code: from a fixed set.
func closeLabel(c *closing, err error) string {
	if c != nil {
		return strconv.Itoa(c.code)
	}
	var peer *websocket.CloseError
	if errors.As(err, &peer) && (peer.Code >= 1000 && peer.Code <= 1011 || peer.Code >= 4000 && peer.Code <= 4005) {
		return strconv.Itoa(peer.Code)
	}
	return "1006"
}
