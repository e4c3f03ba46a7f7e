package main

import (
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// definitionHelp explains the flags of a definition.
const definitionHelp = `--from says where a new subscription begins: start (the default), end, a number (a
version, or position of $all, the first to be delivered), a time, or a cursor.

--types and --streams take patterns, in which * stands for any characters; --where an
expression in CEL over stream, type, version, position, id, time, recorded, data and
metadata, such as 'data.total > 100'. An event is parked if an expression fails on it, or
costs too much for it.

--partition-by keeps the order of events with the same key, whatever the workers and
subscribers: stream, correlation_id, metadata:NAME or expr:EXPRESSION. Without
it events are delivered in order and an event that failed comes again by itself, later.

An event that failed is sent again after a backoff, --max-attempts times at most, and then
parked, skipped, or the subscription stops, as --then says. Up to 32,768 events that were
read may wait for that; then no more are read until some are finished.`

// definitionFlags are those of a subscription's definition.
type definitionFlags struct {
	stream, from, where, partitionBy, mapTo string
	types, streams                          []string
	concurrency, buffer, maxAttempts        int
	ackTimeout, retryMin, retryMax          time.Duration
	then, onPark                            string
	checkpointThreshold                     int
	checkpointAfter                         time.Duration

	set *pflag.FlagSet // these and no others
}

func (f *definitionFlags) register(cmd *cobra.Command) {
	d := subscriptions.DefaultDefinition()
	f.set = pflag.NewFlagSet("definition", pflag.ContinueOnError)
	s := f.set
	s.StringVar(&f.stream, "stream", d.Stream, "the stream to subscribe to")
	s.StringVar(&f.from, "from", "start", "where it begins: start, end, N, a time or a cursor")
	s.StringSliceVar(&f.types, "types", nil, "only events of these types")
	s.StringSliceVar(&f.streams, "streams", nil, "only events of these streams")
	s.StringVar(&f.where, "where", "", "only events for which this expression is true")
	s.StringVar(&f.partitionBy, "partition-by", d.PartitionBy, "what keeps its order: none, stream, correlation_id, metadata:NAME or expr:EXPRESSION")
	s.StringVar(&f.mapTo, "map", "", "fields of the data to send, or expr:EXPRESSION for the data itself")
	s.IntVar(&f.concurrency, "concurrency", d.ConcurrencyLimit, "how many subscribers there may be")
	s.IntVar(&f.buffer, "buffer", d.BufferSize, "how many events may be in flight to one subscriber")
	s.DurationVar(&f.ackTimeout, "ack-timeout", millis(d.AckTimeoutMs), "how long a subscriber has for an event, or unlimited")
	s.IntVar(&f.maxAttempts, "max-attempts", d.Retry.Max, "after how many attempts an event is given up, or unlimited")
	s.DurationVar(&f.retryMin, "retry-min", millis(d.Retry.MinMs), "backoff after the first failed attempt; it doubles")
	s.DurationVar(&f.retryMax, "retry-max", millis(d.Retry.MaxMs), "longest backoff")
	s.StringVar(&f.then, "then", string(d.Retry.Then), "what to do with an event that is given up: park, skip or stop")
	s.StringVar(&f.onPark, "on-park", string(d.OnPark), "later events of a parked event's key: continue or hold_key")
	s.IntVar(&f.checkpointThreshold, "checkpoint-threshold", d.CheckpointThreshold, "after how many events the checkpoint is stored")
	s.DurationVar(&f.checkpointAfter, "checkpoint-after", millis(d.CheckpointAfterMs), "after how long it is stored anyway (default never)")
	for name, text := range map[string]string{"ack-timeout": "-1ms", "max-attempts": "-1"} {
		flag := s.Lookup(name)
		flag.Value = limitFlag{flag.Value, text}
	}
	cmd.Flags().AddFlagSet(s)
}

// limitFlag is a flag that may be unlimited, which is text for the Value.
type limitFlag struct {
	pflag.Value
	text string
}

// Set is part of pflag.Value.
func (f limitFlag) Set(s string) error {
	if s == "unlimited" {
		s = f.text
	}
	return f.Value.Set(s)
}

// String is part of pflag.Value.
func (f limitFlag) String() string {
	if s := f.Value.String(); s != f.text {
		return s
	}
	return "unlimited"
}

// given says whether the command line has any of them.
func (f *definitionFlags) given() bool {
	given := false
	f.set.VisitAll(func(flag *pflag.Flag) { given = given || flag.Changed })
	return given
}

// definition is what the flags say.
func (f *definitionFlags) definition() (*subscriptions.Definition, error) {
	d := subscriptions.DefaultDefinition()
	var err error
	if d.From, err = parsePlace(f.from, f.stream); err != nil {
		return nil, err
	}
	d.Stream = f.stream
	d.Filter = subscriptions.Filter{Streams: f.streams, Types: f.types, Expr: f.where}
	if expr, ok := strings.CutPrefix(f.mapTo, subscriptions.ByExpression); ok {
		d.Map.Expr = expr
	} else if f.mapTo != "" {
		d.Map.Fields = strings.Split(f.mapTo, ",")
	}
	d.PartitionBy, d.ConcurrencyLimit, d.BufferSize = f.partitionBy, f.concurrency, f.buffer
	d.AckTimeoutMs = f.ackTimeout.Milliseconds()
	d.Retry = delivery.Retry{
		Max: f.maxAttempts, MinMs: f.retryMin.Milliseconds(), MaxMs: f.retryMax.Milliseconds(), Then: delivery.Then(f.then),
	}
	d.OnPark = delivery.OnPark(f.onPark)
	d.CheckpointThreshold, d.CheckpointAfterMs = f.checkpointThreshold, f.checkpointAfter.Milliseconds()
	return &d, d.Validate()
}

// parsePlace parses where something begins in a stream (core.ParseFrom).
func parsePlace(s, stream string) (core.From, error) {
	from, err := core.ParseFrom(s, stream)
	if err != nil {
		return from, usagef("start, end, a number, a time such as 2026-11-23T10:00:00Z, or a cursor").because("%q is not a place of a log", s)
	}
	return from, nil
}

// definitionOf reads a definition in JSON from a file, or stdin for "-".
func (a *app) definitionOf(name string) (*subscriptions.Definition, error) {
	from := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, usagef("check the path").because("%v", err)
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxLineBytes))
	if err != nil {
		return nil, err
	}
	d := subscriptions.DefaultDefinition()
	if err := wire.UnmarshalStrict(text, &d); err != nil {
		return nil, err
	}
	return &d, d.Validate()
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
