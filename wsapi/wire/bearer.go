package wire

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// bearerPrefix begins the subprotocol by which a browser can send a token with the request for
// a WebSocket: the token follows in base64url without padding. The server never chooses it.
const bearerPrefix = "gyre.bearer."

// BearerProtocol returns the subprotocol that has a token.
func BearerProtocol(token string) string {
	return bearerPrefix + base64.RawURLEncoding.EncodeToString([]byte(token))
}

// IsBearerProtocol reports whether a subprotocol has a token.
func IsBearerProtocol(name string) bool { return strings.HasPrefix(name, bearerPrefix) }

// BearerToken returns the token among the subprotocols that a request offers, or "". The error
// is unauthenticated if it cannot be read, or if there are two.
func BearerToken(h http.Header) (token string, err error) {
	for _, list := range h.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(list, ",") {
			coded, ok := strings.CutPrefix(strings.TrimSpace(name), bearerPrefix)
			if !ok {
				continue
			}
			text, err := base64.RawURLEncoding.DecodeString(coded)
			if err != nil || len(text) == 0 || token != "" {
				return "", core.Errorf(core.CodeUnauthenticated, "the request offers a subprotocol gyre.bearer. that is not one token in base64url")
			}
			token = string(text)
		}
	}
	return token, nil
}
