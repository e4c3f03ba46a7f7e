package wsapi

import (
	"context"
	"net/http"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/requests"
)

// placeless is the key of WithoutPlace.
type placeless struct{}

// WithoutPlace returns the context of a connection for which its address has no place. A
// request on it is refused, unless it asks how the node is, or another node sends it.
func WithoutPlace(ctx context.Context) context.Context {
	return context.WithValue(ctx, placeless{}, true)
}

// checkPlace refuses a request for a route if its connection has no place, and has it closed
// in any case.
func checkPlace(w http.ResponseWriter, r *http.Request, found *Route) error {
	if r.Context().Value(placeless{}) == nil || isPeerPath(found.Path) {
		return nil
	}
	w.Header().Set("Connection", "close")
	if found.Drained {
		return nil
	}
	return core.Errorf(core.CodeTooManyConnections, "%s has too many connections", requests.AddressOf(r.RemoteAddr))
}
