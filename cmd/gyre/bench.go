package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
)

const benchHelp = `Measure a node from this machine, through the Go client. The figures include the client and
the network: run the command on the node's machine to measure the node.

append and follow write events to streams named bench-…; the events stay in the log.`

func newBench(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "bench",
		Short: "Measure a node: append, read, follow",
		Long:  benchHelp,
	})
	cmd.AddCommand(newBenchAppend(a), newBenchRead(a), newBenchFollow(a))
	return cmd
}

// benchResult is the printed result of a benchmark.
type benchResult struct {
	Benchmark       string  `json:"benchmark"`
	What            string  `json:"what"` // what a latency is of
	Events          int64   `json:"events"`
	Bytes           int64   `json:"bytes"` // of data
	Seconds         float64 `json:"seconds"`
	EventsPerSecond float64 `json:"eventsPerSecond"`
	Latency         latency `json:"latencyMs"`
}

// latency are percentiles, in milliseconds.
type latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p99.9"`
	Max  float64 `json:"max"`
}

// latencyOf sorts all samples: exact, and small enough for what a benchmark takes.
func latencyOf(samples []time.Duration) latency {
	if len(samples) == 0 {
		return latency{}
	}
	slices.Sort(samples)
	at := func(p float64) float64 {
		i := int(math.Ceil(p*float64(len(samples)))) - 1
		return math.Round(float64(samples[max(i, 0)])/float64(time.Microsecond)) / 1000
	}
	return latency{P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}

func (r benchResult) words() string {
	var b strings.Builder
	d := time.Duration(r.Seconds * float64(time.Second))
	fmt.Fprintf(&b, "%s: %s events, %s of data, %.2f s\n", r.Benchmark, comma(r.Events), byteCount(r.Bytes), r.Seconds)
	fmt.Fprintf(&b, "  throughput  %s, %s/s\n", rate(r.Events, d), byteCount(int64(float64(r.Bytes)/max(r.Seconds, 0.001))))
	fmt.Fprintf(&b, "  latency     p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.2f ms (%s)",
		r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.P999, r.Latency.Max, r.What)
	return b.String()
}

// finished completes a result.
func (r benchResult) finished(took time.Duration, samples []time.Duration) benchResult {
	r.Seconds = math.Round(took.Seconds()*1000) / 1000
	r.EventsPerSecond = math.Round(float64(r.Events) / max(took.Seconds(), 1e-9))
	r.Latency = latencyOf(samples)
	return r
}

// benchStream names the streams of one run, which no other run has.
func benchStream() string { return "bench-" + core.NewID().String()[:18] }

// benchData is a JSON object of about size bytes.
func benchData(size int) []byte {
	const frame = `{"pad":""}`
	return []byte(`{"pad":"` + strings.Repeat("x", max(0, size-len(frame))) + `"}`)
}
