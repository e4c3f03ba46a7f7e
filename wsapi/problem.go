package wsapi

import (
	"net/http"
	"strconv"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// retryAfterSeconds is what 429 and 503 say: long enough to let a queue drain,
// short enough not to be noticed after a restart.
const retryAfterSeconds = 1

// problem is the body of an error, as of RFC 9457.
type problem struct {
	Type     string `json:"type"`
	Instance string `json:"instance"`
	*wire.Error
}

// problem responds with an error.
func (a *API) problem(w http.ResponseWriter, r *http.Request, err error) {
	a.problemWith(w, r, err, 0)
}

// problemWith is problem with a status of its own.
func (a *API) problemWith(w http.ResponseWriter, r *http.Request, err error, status int) {
	instance := newInstance()
	if e := core.AsError(err); e.Code == core.CodeInternal {
		a.config.Logger.ErrorContext(r.Context(), "request failed", "code", e.Code, "instance", instance,
			"method", r.Method, "path", r.URL.Path, "error", err, "cause", e.Unwrap())
	}
	writeProblem(w, r, err, instance, status)
}

// newInstance is the name of one response, to find it in the log.
func newInstance() string { return "urn:uuid:" + core.NewID().String() }

// writeProblem writes the body and headers of an error; status 0 is the code's. An
// EventSource never comes back after another status than 200, so that it is sent an error
// that may pass as a stream that ends.
func writeProblem(w http.ResponseWriter, r *http.Request, err error, instance string, status int) {
	e := wire.NewError(err)
	if e.Retryable && r.Method == http.MethodGet && accepted(r.Header.Values("Accept"), typeProblem, typeEventStream) == typeEventStream {
		setEventStream(w.Header())
		_, _ = w.Write(appendEnd([]byte(eventStreamRetry), err))
		return
	}
	if status != 0 {
		e.Status = status
	}
	body, err := wire.Marshal(problem{Type: baseURL(r) + wire.DocPath(e.Code), Instance: instance, Error: e})
	if err != nil {
		http.Error(w, string(e.Code), e.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", typeProblem)
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	if e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.FormatInt(max(retryAfterSeconds, (e.RetryAfterMs+999)/1000), 10))
	}
	h.Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(e.Status)
	// A client that is gone does not read it.
	_, _ = w.Write(append(body, '\n'))
}

// baseURL is the address under which the client reached the node that it called.
func baseURL(r *http.Request) string {
	if host := r.Header.Get("X-Forwarded-Host"); host != "" && forwarded(r) {
		return r.Header.Get("X-Forwarded-Proto") + "://" + host
	}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	return scheme + r.Host
}
