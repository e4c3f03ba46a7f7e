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
const definitionHelp = `--types and --streams take patterns, in which * stands for any characters. --where takes an
expression in CEL over stream, type, version, position, id, time, recorded, data and
metadata, such as 'data.total > 100'. --filter-plugin takes a filter, as NAME@VERSION, which
judges the events that match the rest; --map and --partition-by take plugins, too, as
plugin:NAME@VERSION. An event on which an expression or a plugin fails, or costs too much, is
parked.

--partition-by keeps events with the same key in order, for any number of workers and
subscribers: stream, correlation_id, metadata:NAME, expr:EXPRESSION or plugin:NAME@VERSION.
Without it events are sent in order, but a failed event is sent again later, out of order.

A failed event is sent again after a backoff, up to --max-attempts attempts. Then --then
decides: the event is parked or skipped, or the subscription stops. Up to 32,768 events wait
for another attempt; beyond that, nothing new is read until some are finished.`

// fromHelp explains the flags that say where a new subscription begins.
const fromHelp = `--from says where a new subscription begins: start (the default), end, a number (the first
version, or position of $all, to deliver), a time, or a cursor. --after N begins with the
event after a version or position.

`

// definitionFlags are the flags of a subscription's definition.
type definitionFlags struct {
	stream, from, where, partitionBy, mapTo string
	filterPlugin                            string
	types, streams                          []string
	after                                   uint64
	concurrency, buffer, maxAttempts        int
	ackTimeout, retryMin, retryMax          time.Duration
	then, onPark                            string
	checkpointThreshold                     int
	checkpointAfter                         time.Duration

	set *pflag.FlagSet // these and no others
}

// register adds the flags of a new subscription.
func (f *definitionFlags) register(cmd *cobra.Command) {
	f.registerOptions(cmd)
	f.set.StringVar(&f.from, "from", "start", "where it begins: start, end, N, a time or a cursor")
	f.set.Uint64Var(&f.after, "after", 0, "begin after this version, or position of $all")
	cmd.Flags().AddFlagSet(f.set)
}

// registerOptions adds the flags of what can be changed later.
func (f *definitionFlags) registerOptions(cmd *cobra.Command) {
	d := subscriptions.DefaultDefinition()
	f.set = pflag.NewFlagSet("definition", pflag.ContinueOnError)
	s := f.set
	s.StringVar(&f.stream, "stream", d.Stream, "the stream to subscribe to")
	s.StringSliceVar(&f.types, "types", nil, "only events of these types")
	s.StringSliceVar(&f.streams, "streams", nil, "only events of these streams")
	s.StringVar(&f.where, "where", "", "only events for which this expression is true")
	s.StringVar(&f.filterPlugin, "filter-plugin", "", "only events that this filter keeps: NAME@VERSION of a plugin")
	s.StringVar(&f.partitionBy, "partition-by", d.PartitionBy, "what keeps its order: none, stream, correlation_id, metadata:NAME, expr:EXPRESSION or plugin:NAME@VERSION")
	s.StringVar(&f.mapTo, "map", "", "fields of the data to send, or expr:EXPRESSION or plugin:NAME@VERSION for the data itself")
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

// limitFlag is a flag that takes "unlimited", for which the Value has text.
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

// given reports whether the command line has any of them.
func (f *definitionFlags) given() bool {
	given := false
	f.set.VisitAll(func(flag *pflag.Flag) { given = given || flag.Changed })
	return given
}

// definition returns the definition of a new subscription.
func (f *definitionFlags) definition() (*subscriptions.Definition, error) {
	d := subscriptions.DefaultDefinition()
	after := f.set.Changed("after")
	if after && f.set.Changed("from") {
		return nil, errTwoBeginnings
	}
	var err error
	if after {
		d.From = core.FromAfter(f.after, f.stream)
	} else if d.From, err = parsePlace(f.from, f.stream); err != nil {
		return nil, err
	}
	f.change(&d)
	if err := checkPluginFlags(f.set.Changed, f.filterPlugin, f.mapTo); err != nil {
		return nil, err
	}
	return &d, d.Validate()
}

// change sets the fields of d whose flags are given.
func (f *definitionFlags) change(d *subscriptions.Definition) {
	for name, set := range map[string]func(){
		"stream":        func() { d.Stream = f.stream },
		"types":         func() { d.Filter.Types = f.types },
		"streams":       func() { d.Filter.Streams = f.streams },
		"where":         func() { d.Filter.Expr = f.where },
		"filter-plugin": func() { d.Filter.Plugin = subscriptions.PluginVersion(f.filterPlugin) },
		"partition-by":  func() { d.PartitionBy = f.partitionBy },
		"map":           func() { d.Map = parseMap(f.mapTo) },
		"concurrency":   func() { d.ConcurrencyLimit = f.concurrency },
		"buffer":        func() { d.BufferSize = f.buffer },
		"ack-timeout":   func() { d.AckTimeoutMs = f.ackTimeout.Milliseconds() },
		"max-attempts":  func() { d.Retry.Max = f.maxAttempts },
		"retry-min":     func() { d.Retry.MinMs = f.retryMin.Milliseconds() },
		"retry-max":     func() { d.Retry.MaxMs = f.retryMax.Milliseconds() },
		"then":          func() { d.Retry.Then = delivery.Then(f.then) },
		"on-park":       func() { d.OnPark = delivery.OnPark(f.onPark) },

		"checkpoint-threshold": func() { d.CheckpointThreshold = f.checkpointThreshold },
		"checkpoint-after":     func() { d.CheckpointAfterMs = f.checkpointAfter.Milliseconds() },
	} {
		if f.set.Changed(name) {
			set()
		}
	}
}

// parseMap parses the value of --map.
func parseMap(s string) (m subscriptions.Map) {
	if expr, ok := strings.CutPrefix(s, subscriptions.ByExpression); ok {
		m.Expr = expr
	} else if plugin, ok := strings.CutPrefix(s, subscriptions.ByPlugin); ok {
		m.Plugin = plugin
	} else if s != "" {
		m.Fields = strings.Split(s, ",")
	}
	return m
}

// checkPluginFlags refuses a plugin without a name, such as one of a variable that is not set: what
// it was to keep back would be sent.
func checkPluginFlags(changed func(string) bool, filter, mapTo string) error {
	what := usagef("--filter-plugin large@0.1.0, or --map plugin:total@0.1.0")
	switch {
	case changed("filter-plugin") && filter == "":
		return what.because("--filter-plugin names no plugin")
	case mapTo == subscriptions.ByPlugin || mapTo == subscriptions.ByExpression:
		return what.because("--map %s names nothing", mapTo)
	}
	return nil
}

// mapWords is a map as --map takes it; empty if there is none.
func mapWords(m *subscriptions.Map) string {
	switch {
	case m.Plugin != "":
		return subscriptions.ByPlugin + m.Plugin
	case m.Expr != "":
		return subscriptions.ByExpression + m.Expr
	}
	return strings.Join(m.Fields, ",")
}

// parsePlace parses where something begins in a stream (core.ParseFrom).
func parsePlace(s, stream string) (core.From, error) {
	from, err := core.ParseFrom(s, stream)
	if err != nil {
		return from, usagef("start, end, a number, a time such as 2026-11-23T10:00:00Z, or a cursor").because("%q is not a place of a log", s)
	}
	return from, nil
}

// readDefinition reads a definition in JSON from a file, or stdin for "-", into d. What the
// JSON leaves out stays as it is.
func (a *app) readDefinition(name string, d *subscriptions.Definition) error {
	from := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return usagef("check the path").because("%v", err)
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxLineBytes))
	if err != nil {
		return err
	}
	return wire.UnmarshalDefinition(text, d)
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
