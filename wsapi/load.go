package wsapi

import (
	"net/http"
	"time"

	"github.com/gyre-events/gyre/access"
)

// enter takes a place for a request to a route, among those of the node and of its principal.
// leave gives it back. Requests of which the node gets no relief may be refused: the error is
// overloaded. A small body is read all the same, so that the connection can be used again.
func (a *API) enter(w http.ResponseWriter, r *http.Request, route *Route) (leave func(), err error) {
	if route.Relieves || route.Drained || route.Needs == access.Open {
		return func() {}, nil
	}
	rec := w.(*recorder)
	share := a.gates.Of(access.Of(r.Context()), r.RemoteAddr)
	if err := a.gates.Requests.Enter(share); err != nil {
		share.Release()
		if r.ContentLength <= maxIgnoredBody {
			_ = a.ignoreBody(w, r) // the answer says more
		}
		return nil, err
	}
	rec.share = share
	rec.memory.Belong(share)
	return func() {
		a.gates.Requests.Leave(share, time.Time{})
		share.Release()
	}, nil
}
