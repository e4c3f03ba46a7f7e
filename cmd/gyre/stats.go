package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const statsHelp = `Show the counters and gauges of a node: events in and out, how long appends take, connections,
sizes and memory. -o json has all of them; they are what /metrics has, too.`

func newStats(a *app) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:     "stats",
		Short:   "Show the counters and sizes of a node",
		Long:    statsHelp,
		Example: "  gyre stats\n  gyre stats --node node2 -o json | jq .appends",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s wire.Stats
			err := a.withClient(cmd.Context(), func(client *sdk.Client) (err error) {
				ctx, cancel := a.request(cmd.Context())
				defer cancel()
				s, err = client.Stats(ctx, node)
				return unknownNode(err)
			})
			if err != nil {
				return err
			}
			return printOne(a, s, statsWords)
		},
	}
	return a.aboutNode(cmd, &node, "id of the node to ask (default the one of --server)")
}

func statsWords(s wire.Stats) string {
	var b strings.Builder
	line := func(title, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s  %s\n", title, fmt.Sprintf(format, args...))
	}
	line("node", "%s, %s, up %s", visible(s.Node), visible(s.Version), time.Duration(s.Uptime*float64(time.Second)).Round(time.Second))
	writable := ""
	if s.Log.ReadOnly {
		writable = ", read-only"
	}
	line("head", "%d%s", s.Log.Head, writable)
	line("appended", "%s, %s", howMany(s.Appends.Events, "event", "events"), tookWords(&s.Appends.Seconds))
	line("refused", "%s, %s", howMany(s.Appends.Conflicts, "conflict", "conflicts"), howMany(s.Appends.Errors, "error", "errors"))
	line("sent", "%s", howMany(s.Reads.Events, "event", "events"))
	line("connections", "%d, %s", s.Connections.Open, howMany(s.Connections.Follows, "follow", "follows"))
	line("subscriptions", "%d, %d are behind, %d parked events", s.Subscriptions.Count, s.Subscriptions.Lagging, s.Subscriptions.Parked)
	line("plugins", "%d", s.Plugins.Count)
	z := &s.Storage
	if z.Database > 0 {
		line("stored", "%s in the database", byteCount(z.Database))
	} else {
		line("stored", "log %s, index %s, records %s, blobs %s", byteCount(z.Log), byteCount(z.Index), byteCount(z.Records), byteCount(z.Blobs))
	}
	line("memory", "%s, %d goroutines", byteCount(s.Process.Resident), s.Process.Goroutines)
	return strings.TrimSuffix(b.String(), "\n")
}

// tookWords says how long half of the appends took at most, and 99 of 100.
func tookWords(h *wire.Histogram) string {
	if h.Count == 0 {
		return "none yet"
	}
	within := func(part float64) string {
		for _, bucket := range h.Buckets {
			if float64(bucket.Count) >= part*float64(h.Count) {
				return "≤ " + time.Duration(bucket.LE*float64(time.Second)).String()
			}
		}
		return "longer"
	}
	return fmt.Sprintf("p50 %s, p99 %s", within(.5), within(.99))
}

// byteCount is a size for people.
func byteCount(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size, unit := float64(n), 0
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
