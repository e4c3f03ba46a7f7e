package subscriptions

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// grain is how late an alarm may be: a thousand hosts whose times lie anywhere wake
// the clock no more often than this.
const grain = time.Millisecond

// clock calls hosts at their times. It is one goroutine for all those of an Owner.
type clock struct {
	sooner chan struct{} // holds 1: the first alarm is another one

	mu     sync.Mutex // protects the fields below, and those of alarm
	alarms alarms
}

// alarm is what a clock has of a host.
type alarm struct {
	at    time.Time
	place int // in alarms, from 1; 0 if it is not set
}

func makeClock() clock { return clock{sooner: make(chan struct{}, 1)} }

// set has a host called at a time, or sooner.
func (c *clock) set(h *host, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch a := &h.alarm; {
	case a.place == 0:
		a.at = at
		heap.Push(&c.alarms, h)
	case at.Before(a.at):
		a.at = at
		heap.Fix(&c.alarms, a.place-1)
	default:
		return
	}
	if h.alarm.place == 1 {
		wake(c.sooner)
	}
}

// drop forgets a host.
func (c *clock) drop(h *host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.alarm.place > 0 {
		heap.Remove(&c.alarms, h.alarm.place-1)
	}
}

// due takes out a host whose time has come. Without one, it says how long it is until
// there may be.
func (c *clock) due(now time.Time) (h *host, rest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.alarms) == 0 {
		return nil, time.Hour
	}
	if rest = c.alarms[0].alarm.at.Sub(now); rest > 0 {
		return nil, max(rest, grain)
	}
	return heap.Pop(&c.alarms).(*host), 0
}

// run calls until ctx ends.
func (c *clock) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		h, rest := c.due(now)
		for ; h != nil; h, rest = c.due(now) {
			h.onTimer(now)
		}
		timer.Reset(rest)
		select {
		case <-timer.C:
		case <-c.sooner:
		case <-ctx.Done():
			return
		}
	}
}

// alarms are hosts by the times of their alarms, as a heap.
type alarms []*host

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, k int) bool { return a[i].alarm.at.Before(a[k].alarm.at) }

func (a alarms) Swap(i, k int) {
	a[i], a[k] = a[k], a[i]
	a[i].alarm.place, a[k].alarm.place = i+1, k+1
}

// Push is part of heap.Interface.
func (a *alarms) Push(h any) {
	*a = append(*a, h.(*host))
	h.(*host).alarm.place = len(*a)
}

// Pop is part of heap.Interface.
func (a *alarms) Pop() any {
	last := len(*a) - 1
	h := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	h.alarm.place = 0
	return h
}
