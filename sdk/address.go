package sdk

import (
	"net/url"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// address is where a node is: the same place under two schemes.
type address struct {
	ws   string // of GET /v1/ws
	http string // of the HTTP API, without a slash at the end
}

// parseAddresses takes addresses with commas between them. One that is named twice counts once.
func parseAddresses(text string) ([]address, error) {
	var list []address
	for one := range strings.SplitSeq(text, ",") {
		at, err := parseAddress(strings.TrimSpace(one))
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list, nil
}

// parseAddress takes http, https, ws and wss URLs, host:port, and :port.
func parseAddress(given string) (address, error) {
	bad := func() (address, error) {
		return address{}, core.Errorf(core.CodeInvalidConfig, "%q is not the address of a node; http://host:port is one", given)
	}
	text := given
	if !strings.Contains(text, "://") {
		if strings.HasPrefix(text, ":") {
			text = "127.0.0.1" + text
		}
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return bad()
	}
	secure := ""
	switch u.Scheme {
	case "http", "ws":
	case "https", "wss":
		secure = "s"
	default:
		return bad()
	}
	base := u.Host + strings.TrimRight(u.EscapedPath(), "/")
	return address{ws: "ws" + secure + "://" + base + "/v1/ws", http: "http" + secure + "://" + base}, nil
}
