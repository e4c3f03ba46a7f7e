package wsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// statsEvery is how often those who follow the Stats get them.
	statsEvery = time.Second
	// statsFor is for how long Stats are the same for all who ask.
	statsFor = statsEvery / 2
)

// statistics makes the Stats of the node.
type statistics struct {
	api   *API
	began time.Time

	mu   sync.Mutex // held while Stats are made
	last []byte     // encoded
	made time.Time
}

// statsRoute is GET /v1/stats.
func (a *API) statsRoute() Route {
	return Route{Method: "GET", Path: "/v1/stats", Needs: access.SeeMetrics, Op: "stats", Handle: a.serveStats, Query: []string{"node"}, Drained: true}
}

// statsSub is the sub stats.follow.
func (a *API) statsSub() Sub {
	return Sub{Name: "stats.follow", Needs: access.SeeMetrics, Open: func(ctx context.Context, message []byte) (Stream, error) {
		var m struct {
			Node string `json:"node"`
		}
		if err := wire.Unmarshal(message, &m); err != nil {
			return nil, err
		}
		first, err := a.statsOf(ctx, m.Node)
		return &followedStats{a, m.Node, first}, err
	}}
}

// serveStats is GET /v1/stats: once as JSON, or each second as server-sent events.
func (a *API) serveStats(w http.ResponseWriter, r *http.Request) error {
	kind, err := Accepted(r, typeJSON, typeEventStream)
	if err != nil {
		return err
	}
	ctx, cancel, err := a.timeout(r)
	if err != nil {
		return err
	}
	defer cancel()
	node := r.URL.Query().Get("node")
	text, err := a.statsOf(ctx, node)
	if err != nil {
		return err
	}
	if kind == typeEventStream {
		return EventStream(w, r, func(ctx context.Context, _ time.Duration) (event []byte, err error) {
			if text == nil {
				if text, err = a.nextStats(ctx, node); err != nil {
					return nil, err
				}
			}
			event = append(append(append(event, "data: "...), text...), "\n\n"...)
			text = nil
			return event, nil
		})
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", typeJSON)
	_, err = w.Write(slices.Concat(text, []byte("\n"))) // others have the text, too
	return err
}

// followedStats is what the sub stats.follow sends.
type followedStats struct {
	api   *API
	node  string
	first json.RawMessage
}

// Run is part of Stream.
func (f *followedStats) Run(ctx context.Context, send func(any) error) error {
	for text := f.first; ; {
		if err := send(text); err != nil {
			return err
		}
		var err error
		if text, err = f.api.nextStats(ctx, f.node); err != nil {
			return err
		}
	}
}

// Close is part of Stream.
func (*followedStats) Close() {}

// nextStats waits until it is time, and returns the Stats of a node.
func (a *API) nextStats(ctx context.Context, node string) (json.RawMessage, error) {
	next := time.NewTimer(statsEvery)
	defer next.Stop()
	select {
	case <-next.C:
	case <-ctx.Done():
		return nil, core.AsError(ctx.Err())
	}
	if err := access.Check(ctx, access.SeeMetrics, ""); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, a.config.Limits.Request)
	defer cancel()
	return a.statsOf(ctx, node)
}

// statsOf returns the Stats of a node of the ring, encoded; "" is this one. The error is not_found
// if there is no such node.
func (a *API) statsOf(ctx context.Context, node string) (json.RawMessage, error) {
	if node == "" || node == a.config.Node {
		return a.stats.now()
	}
	if a.config.Owners == nil {
		return nil, noRing()
	}
	to, err := a.config.Owners.At(node)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/v1/stats", nil)
	if err != nil {
		return nil, err
	}
	text, err := a.kept(r, func(w http.ResponseWriter, r *http.Request) error { return to.Forward(ctx, w, r) })
	return bytes.TrimSpace(text), err
}

// now returns this node's Stats, encoded.
func (s *statistics) now() (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.made) < statsFor {
		return s.last, nil
	}
	stats, err := s.look()
	if err != nil {
		return nil, err
	}
	text, err := wire.Marshal(stats)
	if err == nil {
		s.last, s.made = text, time.Now()
	}
	return text, err
}

// look makes the Stats of what /metrics has, too.
func (s *statistics) look() (*wire.Stats, error) {
	a := s.api
	m, err := gather(a.metrics.own)
	if err != nil {
		return nil, core.Errorf(core.CodeInternal, "the metrics cannot be gathered: %w", err)
	}
	state, now := a.config.Store.State(), time.Now()
	stats := &wire.Stats{
		Node: a.config.Node, Version: a.config.Version,
		Time: now.UTC().Truncate(time.Microsecond), Uptime: now.Sub(s.began).Seconds(),
		Log:   wire.LogStats{ID: state.Log, Head: state.Head, ReadOnly: state.ReadOnly != nil},
		Reads: wire.ReadStats{Events: uint64(m.sum("gyre_read_events_total"))},
		Connections: wire.ConnectionStats{
			Open: int(m.sum("gyre_ws_connections")), Closed: uint64(m.sum("gyre_ws_close_total")), Follows: int(m.sum("gyre_ws_follows")),
			Memory: int64(m.sum("gyre_connection_memory_bytes")), MemoryLimit: int64(m.sum("gyre_connection_memory_limit_bytes")),
			Refused: uint64(m.sum("gyre_connection_memory_refused_total")),
		},
		Process: wire.ProcessStats{
			CPUSeconds: m.sum("process_cpu_seconds_total"), Resident: int64(m.sum("process_resident_memory_bytes")),
			Heap: int64(m.sum("go_memstats_heap_inuse_bytes")), Goroutines: int(m.sum("go_goroutines")), OpenFiles: int(m.sum("process_open_fds")),
		},
		Appends: m.appends(), HTTP: m.http(),
		Plugins: wire.PluginStats{States: map[string]int{}},
	}
	for _, e := range a.config.Extensions {
		if e.Stats != nil {
			e.Stats(stats)
		}
	}
	return stats, nil
}

// metric is one series of a metric.
type metric struct {
	labels    map[string]string
	value     float64 // of a counter or a gauge
	histogram wire.Histogram
}

// gathered are metrics by name.
type gathered map[string][]metric

func gather(g prometheus.Gatherer) (gathered, error) {
	families, err := g.Gather()
	if err != nil {
		return nil, err
	}
	all := gathered{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			one := metric{labels: map[string]string{}, value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				one.labels[l.GetName()] = l.GetValue()
			}
			h := m.GetHistogram()
			one.histogram = wire.Histogram{Count: h.GetSampleCount(), Sum: h.GetSampleSum()}
			for _, b := range h.GetBucket() {
				one.histogram.Buckets = append(one.histogram.Buckets, wire.Bucket{LE: b.GetUpperBound(), Count: b.GetCumulativeCount()})
			}
			all[f.GetName()] = append(all[f.GetName()], one)
		}
	}
	return all, nil
}

// sum is the sum over the series of a metric.
func (g gathered) sum(name string) (total float64) {
	for i := range g[name] {
		total += g[name][i].value
	}
	return total
}

func (g gathered) appends() wire.AppendStats {
	s := wire.AppendStats{Events: uint64(g.sum("gyre_append_events_total"))}
	for _, m := range g["gyre_append_duration_seconds"] {
		n := m.histogram.Count
		switch m.labels["result"] {
		case "ok":
			s.OK, s.Seconds = n, m.histogram
		case "duplicate":
			s.Duplicates = n
		case "conflict":
			s.Conflicts = n
		case "error":
			s.Errors = n
		}
	}
	return s
}

func (g gathered) http() (s wire.HTTPStats) {
	for _, m := range g["gyre_http_request_duration_seconds"] {
		n, code := m.histogram.Count, m.labels["code"]
		s.Requests += n
		switch {
		case code == "401" || code == "403" || code == "429":
			s.Denied += n
		case strings.HasPrefix(code, "4"):
			s.ClientErrors += n
		case strings.HasPrefix(code, "5"):
			s.ServerErrors += n
		}
	}
	return s
}
