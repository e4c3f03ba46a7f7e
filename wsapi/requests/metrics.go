package requests

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gyre-events/gyre/core"
)

// Seconds are the buckets of durations: from a write to memory to a lost cause.
var Seconds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Metrics count what requests do. A stream's name is never a label: there is no bound
// on streams.
type Metrics struct {
	appendSeconds *prometheus.HistogramVec
	appendOK      prometheus.Observer
	events        prometheus.Counter
	conflicts     prometheus.Counter
	readEvents    prometheus.Counter
	streams       *prometheus.CounterVec
	snapshots     *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		appendSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gyre_append_duration_seconds", Buckets: Seconds,
			Help: "Time from an append's arrival to its answer, by result: ok, duplicate, conflict, error.",
		}, []string{"result"}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gyre_append_events_total", Help: "Events written through the API.",
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gyre_append_conflicts_total", Help: "Appends refused for their expected version, event ids or progress.",
		}),
		readEvents: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gyre_read_events_total", Help: "Events sent to readers and followers.",
		}),
		streams: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gyre_stream_changes_total", Help: "Changes of whole streams, by action: delete, undelete, remove, tombstone.",
		}, []string{"action"}),
		snapshots: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gyre_snapshot_changes_total", Help: "Changes of snapshots, by action: record, delete.",
		}, []string{"action"}),
	}
	for action := core.DeleteStream; action <= core.TombstoneStream; action++ {
		m.streams.WithLabelValues(action.String())
	}
	m.SnapshotsRecorded(0)
	m.SnapshotsDeleted(0)
	m.appendOK = m.appendSeconds.WithLabelValues("ok")
	return m, Register(registry, m.appendSeconds, m.events, m.conflicts, m.readEvents, m.streams, m.snapshots)
}

// Register registers collectors.
func Register(registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	var errs []error
	for _, c := range collectors {
		errs = append(errs, registry.Register(c))
	}
	return errors.Join(errs...)
}

// Appended counts the answer to an append with changes of whole streams.
func (m *Metrics) Appended(changes []core.StreamOp, r core.Result, err error, took time.Duration) {
	switch {
	case err == nil && r.Duplicate:
		m.appendSeconds.WithLabelValues("duplicate").Observe(took.Seconds())
	case err == nil:
		m.appendOK.Observe(took.Seconds())
		events := 0
		for i := range r.Appends {
			events += r.Appends[i].Count()
		}
		m.events.Add(float64(events))
		for i := range changes {
			m.streams.WithLabelValues(changes[i].Action.String()).Inc()
		}
	case core.AsError(err).Info().Class == core.ClassConflict:
		m.conflicts.Inc()
		m.appendSeconds.WithLabelValues("conflict").Observe(took.Seconds())
	default:
		m.appendSeconds.WithLabelValues("error").Observe(took.Seconds())
	}
}

// SnapshotsRecorded counts snapshots that were recorded.
func (m *Metrics) SnapshotsRecorded(n int) { m.snapshots.WithLabelValues("record").Add(float64(n)) }

// SnapshotsDeleted counts snapshots that were deleted.
func (m *Metrics) SnapshotsDeleted(n int) { m.snapshots.WithLabelValues("delete").Add(float64(n)) }

// Read counts events that were sent.
func (m *Metrics) Read(events int) { m.readEvents.Add(float64(events)) }

// LogInternal logs an error whose cause the client is not told.
func LogInternal(logger *slog.Logger, err error) {
	if e := core.AsError(err); e.Code == core.CodeInternal {
		logger.Error("request failed", "code", e.Code, "error", err, "cause", e.Unwrap())
	}
}
