package wsapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// livez says that the process runs; whether it can serve is readyz's to say.
func (a *API) livez(w http.ResponseWriter, _ *http.Request) error { return writeText(w, 200, "ok\n") }

// readyz says whether the node takes reads and writes, and if not, why, to those who may know.
func (a *API) readyz(w http.ResponseWriter, r *http.Request) error {
	var reasons []string
	if a.draining.Load() {
		reasons = append(reasons, "shutting_down: the node is shutting down")
	}
	if err := a.config.Store.State().ReadOnly; err != nil {
		reasons = append(reasons, core.AsError(err).Error())
	}
	if a.config.NotReady != nil {
		if err := a.config.NotReady(); err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	known := access.Check(r.Context(), access.SeeServer, "") == nil
	switch {
	case len(reasons) > 0 && known:
		return writeNotReady(w, reasons...)
	case len(reasons) > 0:
		return writeNotReady(w)
	case known && r.URL.Query().Has("verbose"):
		return writeText(w, http.StatusOK, "ok\n[+] running\n[+] taking requests\n[+] log writable\n")
	}
	return writeText(w, http.StatusOK, "ok\n")
}

func writeNotReady(w http.ResponseWriter, reasons ...string) error {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	return writeText(w, http.StatusServiceUnavailable, strings.Join(append([]string{"not ready"}, reasons...), "\n")+"\n")
}

func writeText(w http.ResponseWriter, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write([]byte(text))
	return err
}

func (a *API) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// serverInfo is the body of GET /v1/server.
type serverInfo struct {
	Version  string       `json:"version"`
	Node     string       `json:"node"`
	Log      string       `json:"log"`
	Head     uint64       `json:"head"`
	Bytes    int64        `json:"bytes"`
	ReadOnly *wire.Error  `json:"readOnly,omitzero"`
	Insecure bool         `json:"insecure,omitzero"`
	Time     wire.Time    `json:"time"`
	Limits   serverLimits `json:"limits"`
	Features []string     `json:"features"`
}

type serverLimits struct {
	EventBytes       int   `json:"eventBytes"`
	CommitBytes      int   `json:"commitBytes"`
	CommitEvents     int   `json:"commitEvents"`
	CommitChecks     int   `json:"commitChecks"`
	StreamNameBytes  int   `json:"streamNameBytes"`
	EventTypeBytes   int   `json:"eventTypeBytes"`
	ContentTypeBytes int   `json:"contentTypeBytes"`
	ReadEvents       int   `json:"readEvents"`
	FilterPatterns   int   `json:"filterPatterns"`
	JSONDepth        int   `json:"jsonDepth"`
	JSONNumberBytes  int   `json:"jsonNumberBytes"`
	Body             int   `json:"body"`
	Frame            int   `json:"frame"`
	Connections      int   `json:"connections"`
	Subs             int   `json:"subs"`
	Inflight         int   `json:"inflight"`
	RequestMs        int64 `json:"requestMs"`
	MaxRequestMs     int64 `json:"maxRequestMs"`
}

func (a *API) server(w http.ResponseWriter, _ *http.Request) error {
	state := a.config.Store.State()
	l := &a.config.Limits
	info := serverInfo{
		Version: a.config.Version, Node: a.config.Node,
		Log: state.Log, Head: state.Head, Bytes: state.Bytes, Insecure: a.config.Insecure,
		Time: wire.Time(time.Now().Truncate(time.Microsecond)),
		Limits: serverLimits{
			EventBytes: core.MaxEventBytes, CommitBytes: core.MaxCommitBytes, CommitEvents: core.MaxCommitEvents,
			CommitChecks: core.MaxCommitChecks, StreamNameBytes: core.MaxStreamNameBytes,
			EventTypeBytes: core.MaxEventTypeBytes, ContentTypeBytes: core.MaxContentTypeBytes,
			ReadEvents: core.MaxReadEvents, FilterPatterns: core.MaxFilterPatterns,
			JSONDepth: core.MaxJSONDepth, JSONNumberBytes: core.MaxJSONNumberBytes,
			Body: maxBody, Frame: l.Frame, Connections: l.Connections, Subs: l.Subs, Inflight: l.Inflight,
			RequestMs: l.Request.Milliseconds(), MaxRequestMs: l.MaxRequest.Milliseconds(),
		},
		Features: a.features(),
	}
	if state.ReadOnly != nil {
		info.ReadOnly = wire.NewError(state.ReadOnly)
	}
	w.Header().Set("Cache-Control", "no-store")
	return WriteJSON(w, http.StatusOK, info)
}

func WriteJSON(w http.ResponseWriter, status int, v any) error {
	body, err := wire.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err = w.Write(append(body, '\n'))
	return err
}
