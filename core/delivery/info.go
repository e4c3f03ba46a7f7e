package delivery

import (
	"fmt"
	"time"
)

// totals count since the machine began.
type totals struct {
	sent, redelivered, acked, failed, skipped, parked, expired uint64

	ackTime instant // from send to ack, summed over acked
}

// Info is what an operator wants to know. Totals are those of this machine, which
// begins anew with every owner.
type Info struct {
	State  State
	Reason string // of Stopped, or why no more is read

	Checkpoint uint64 // stored
	Finished   uint64 // everything up to here is finished, stored or not
	Cursor     uint64 // everything up to here was read
	Lag        uint64 // positions from the checkpoint to the head: no fewer than events
	// LagTime is the age of the oldest event that is not finished, as far as is
	// known; 0 at the head.
	LagTime time.Duration

	// Events by state. Parking are those whose parking is not stored yet.
	Waiting, InFlight, Retrying, Parking int

	Totals      Totals
	Subscribers []SubscriberInfo
}

// Totals count events, or attempts, since the machine began.
type Totals struct {
	Sent        uint64 // attempts
	Redelivered uint64 // attempts after an event's first
	Acked       uint64
	Failed      uint64 // attempts
	Skipped     uint64
	Parked      uint64
	Expired     uint64        // gone from the log before they were finished
	AckTime     time.Duration // from send to ack, summed over Acked
}

// SubscriberInfo is one lease.
type SubscriberInfo struct {
	Lease    Lease
	Consumer string
	InFlight int
	Acked    uint64
	LastAck  time.Time // zero before there was one
	Credit   Credit
}

// Info describes the subscription at now, when the log's last position is head.
func (m *Machine) Info(now time.Time, head uint64) Info {
	t := &m.totals
	i := Info{
		State: m.State(), Reason: m.reason,
		Checkpoint: m.store.checkpoint, Finished: m.window.floor(), Cursor: m.window.cursor,
		Lag:     head - min(m.store.checkpoint, head),
		LagTime: m.lagTime(now, head),
		Waiting: m.counts[waiting], InFlight: m.counts[inFlight], Retrying: m.counts[retrying], Parking: m.counts[parking],
		Totals: Totals{t.sent, t.redelivered, t.acked, t.failed, t.skipped, t.parked, t.expired, time.Duration(t.ackTime)},
	}
	if m.window.unfinished >= m.room.Events && i.Reason == "" {
		i.Reason = fmt.Sprintf("%d events are read and not finished, most of which may wait for a retry; that is the limit, so no more are read until some are finished", m.window.unfinished)
	}
	for _, s := range m.subs.all {
		info := SubscriberInfo{Lease: s.lease, Consumer: s.consumer, InFlight: s.inFlight, Acked: s.acked, Credit: s.credit}
		if s.acked > 0 {
			info.LastAck = m.wall(s.lastAck)
		}
		i.Subscribers = append(i.Subscribers, info)
	}
	return i
}

// Finished is the position up to which everything is finished, stored or not.
func (m *Machine) Finished() uint64 { return m.window.floor() }

// lagTime looks at the first event that is not finished. Where everything that was
// read is, but not everything was read, the last one that was read has to do.
func (m *Machine) lagTime(now time.Time, head uint64) time.Duration {
	w := &m.window
	recorded := w.recorded
	for i := w.entries.head; i < w.entries.tail; i++ {
		if e := w.entries.at(i).e; e != nil {
			return max(0, now.Sub(time.UnixMicro(e.RecordedMicros)))
		}
	}
	if w.cursor >= head || recorded == 0 {
		return 0
	}
	return max(0, now.Sub(time.UnixMicro(recorded)))
}
