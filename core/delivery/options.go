package delivery

import (
	"fmt"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Options is what the definition of a subscription says about delivery. Its JSON
// form has the names and units of the API. Where the definition says more (stream,
// start, filter, map), that concerns who reads for the machine, and stands beside
// an Options that is embedded.
//
// To read a definition, unmarshal it into DefaultOptions: what it leaves out keeps
// its default.
type Options struct {
	// PartitionBy says what an event's key is; Unpartitioned is that it has none.
	// Everything else is for whoever feeds the machine to understand.
	PartitionBy string `json:"partitionBy"`
	// ConcurrencyLimit is how many subscribers there may be.
	ConcurrencyLimit int `json:"concurrencyLimit"`
	// BufferSize is how many events may be in flight to one subscriber.
	BufferSize int `json:"bufferSize"`
	// CheckpointThreshold is after how many finished events the checkpoint is
	// stored.
	CheckpointThreshold int `json:"checkpointThreshold"`
	// CheckpointAfterMs is how long finished events may wait for that; 0 is for
	// ever.
	CheckpointAfterMs int64 `json:"checkpointAfterMs"`
	// AckTimeoutMs is how long a subscriber has for an event. An attempt that
	// takes longer has failed. NoLimit is as long as the subscriber is there.
	AckTimeoutMs int64 `json:"ackTimeoutMs"`
	// Retry is what happens after failed attempts.
	Retry Retry `json:"retry"`
	// OnPark is what happens to the later events of a parked event's key.
	OnPark OnPark `json:"onPark"`
	// Paused is how the subscription begins. Who owns it stores the present state
	// here, too.
	Paused bool `json:"paused"`
}

// Retry is a policy for failed attempts. The n-th is followed by a backoff of
// MinMs·2ⁿ⁻¹, at most MaxMs, and the one with number Max by Then.
type Retry struct {
	Max   int   `json:"max"` // NoLimit retries for ever
	MinMs int64 `json:"minMs"`
	MaxMs int64 `json:"maxMs"`
	Then  Then  `json:"then"`
}

// Then is what becomes of an event whose attempts have all failed.
type Then string

// The ends of a retry policy.
const (
	ThenPark Then = "park" // park it, with the reason
	ThenSkip Then = "skip" // pass it over
	ThenStop Then = "stop" // stop the subscription
)

// OnPark is what parking an event means for those that come after it.
type OnPark string

// The ways to go on after parking.
const (
	Continue OnPark = "continue" // they are delivered
	HoldKey  OnPark = "hold_key" // those of its key are parked, too, until none of the key is
)

// NoLimit is the AckTimeoutMs or the Retry.Max that has no bound.
const NoLimit = -1

// Unpartitioned is the PartitionBy of a subscription without keys.
const Unpartitioned = "none"

// Bounds of options. They keep a machine's memory and its arithmetic small.
const (
	maxPartitionByBytes = 4096
	maxConcurrency      = 1000
	maxBuffer           = 4096 // what a connection may have credit for
	maxThreshold        = 10_000
	maxRetries          = 1000
	maxDuration         = 24 * time.Hour
	maxTextBytes        = 500 // of a reason, a name of a subscriber, or a value in a message
)

// DefaultOptions are the options of a definition that says nothing.
func DefaultOptions() Options {
	return Options{
		PartitionBy:         Unpartitioned,
		ConcurrencyLimit:    1,
		BufferSize:          64,
		CheckpointThreshold: 1,
		AckTimeoutMs:        30_000,
		Retry:               Retry{Max: 10, MinMs: 100, MaxMs: 30_000, Then: ThenPark},
		OnPark:              Continue,
	}
}

// Validate checks options that come from a client. The error is invalid_request
// and names the field.
func (o Options) Validate() error {
	for _, n := range []struct {
		field       string
		got         int64
		least, most int64
	}{
		{"concurrencyLimit", int64(o.ConcurrencyLimit), 1, maxConcurrency},
		{"bufferSize", int64(o.BufferSize), 1, maxBuffer},
		{"checkpointThreshold", int64(o.CheckpointThreshold), 1, maxThreshold},
		{"checkpointAfterMs", o.CheckpointAfterMs, 0, maxDuration.Milliseconds()},
		{"retry.minMs", o.Retry.MinMs, 0, maxDuration.Milliseconds()},
		{"retry.maxMs", o.Retry.MaxMs, o.Retry.MinMs, maxDuration.Milliseconds()},
	} {
		if n.got < n.least || n.got > n.most {
			return core.Errorf(core.CodeInvalidRequest, "%s is %d, it may be from %d to %d", n.field, n.got, n.least, n.most)
		}
	}
	for _, n := range []struct {
		field     string
		got, most int64
	}{
		{"ackTimeoutMs", o.AckTimeoutMs, maxDuration.Milliseconds()},
		{"retry.max", int64(o.Retry.Max), maxRetries},
	} {
		if n.got != NoLimit && (n.got < 1 || n.got > n.most) {
			return core.Errorf(core.CodeInvalidRequest, "%s is %d, it may be from 1 to %d, or %d for no limit", n.field, n.got, n.most, NoLimit)
		}
	}
	switch {
	case o.PartitionBy == "" || len(o.PartitionBy) > maxPartitionByBytes:
		return core.Errorf(core.CodeInvalidRequest, "partitionBy has %d bytes, it may have from 1 to %d", len(o.PartitionBy), maxPartitionByBytes)
	case o.Retry.Then != ThenPark && o.Retry.Then != ThenSkip && o.Retry.Then != ThenStop:
		return core.Errorf(core.CodeInvalidRequest, "retry.then is %q, it may be park, skip or stop", core.Clip(string(o.Retry.Then)))
	case o.OnPark != Continue && o.OnPark != HoldKey:
		return core.Errorf(core.CodeInvalidRequest, "onPark is %q, it may be continue or hold_key", core.Clip(string(o.OnPark)))
	case o.OnPark == HoldKey && !o.partitioned():
		return core.Errorf(core.CodeInvalidRequest, "onPark is hold_key, which needs a partitionBy other than none")
	}
	return nil
}

// Same checks that a subscriber who asks for other means the subscription that
// has o. The error is subscription_options_differ and names the fields. Paused is
// not compared: a worker that starts again does not undo what an operator did.
func (o Options) Same(other Options) error {
	var differ []string
	for _, f := range []struct {
		field     string
		has, asks any
	}{
		{"partitionBy", o.PartitionBy, other.PartitionBy},
		{"concurrencyLimit", o.ConcurrencyLimit, other.ConcurrencyLimit},
		{"bufferSize", o.BufferSize, other.BufferSize},
		{"checkpointThreshold", o.CheckpointThreshold, other.CheckpointThreshold},
		{"checkpointAfterMs", o.CheckpointAfterMs, other.CheckpointAfterMs},
		{"ackTimeoutMs", o.AckTimeoutMs, other.AckTimeoutMs},
		{"retry.max", o.Retry.Max, other.Retry.Max},
		{"retry.minMs", o.Retry.MinMs, other.Retry.MinMs},
		{"retry.maxMs", o.Retry.MaxMs, other.Retry.MaxMs},
		{"retry.then", o.Retry.Then, other.Retry.Then},
		{"onPark", o.OnPark, other.OnPark},
	} {
		if f.has != f.asks {
			differ = append(differ, fmt.Sprintf("%s is %s, not %s", f.field, core.ClipTo(fmt.Sprint(f.has), maxTextBytes), core.ClipTo(fmt.Sprint(f.asks), maxTextBytes)))
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return core.Errorf(core.CodeSubscriptionOptionsDiffer, "%s", strings.Join(differ, "; "))
}

func (o *Options) partitioned() bool { return o.PartitionBy != Unpartitioned }

func (o *Options) holdsKeys() bool { return o.OnPark == HoldKey }

// ackBy is when an event has to be acked whose time to ack began at an instant.
func (o *Options) ackBy(since instant) instant {
	if o.AckTimeoutMs == NoLimit {
		return never
	}
	return since + instant(o.AckTimeoutMs)*instant(time.Millisecond)
}

// exhausted reports whether so many failed attempts are as many as may be.
func (r *Retry) exhausted(failed int) bool { return r.Max != NoLimit && failed >= r.Max }

func (o *Options) checkpointAfter() instant {
	return instant(o.CheckpointAfterMs) * instant(time.Millisecond)
}

// backoff is the wait after the failed attempt with this number, counted from 1.
func (r *Retry) backoff(failed int) time.Duration {
	ms := r.MinMs
	for range failed - 1 {
		if ms >= r.MaxMs || ms == 0 {
			break
		}
		ms *= 2
	}
	return time.Duration(min(ms, r.MaxMs)) * time.Millisecond
}
