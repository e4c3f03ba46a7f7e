package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
	"github.com/gyre-events/gyre/internal/localring"
	"github.com/gyre-events/gyre/sdk"
)

const (
	// ringFaults is how often a node fails in each of its ways.
	ringFaults = 20
	// ringStreams is how many streams of a node have to append again.
	ringStreams = 8
	// againWithin is more than they take.
	againWithin = 30 * time.Second
)

// recovery measures how long streams cannot be appended to when their owner fails, and how
// long the ring takes to be whole again.
func (r *ringBench) recovery() error {
	for _, c := range []struct {
		name string
		fail func(f *ringFault) error
		most time.Duration
	}{
		{"cluster/recover/kill", (*ringFault).kill, 5 * time.Second},
		{"cluster/recover/pause", (*ringFault).pause, 5 * time.Second},
		{"cluster/recover/stop", (*ringFault).stop, 500 * time.Millisecond},
	} {
		n := r.n(ringFaults)
		r.progress("%s: %d faults", c.name, n)
		var away, back []float64
		for i := range n {
			f, err := r.newFault(i % ringNodes)
			if err == nil {
				err = c.fail(f)
				f.close()
			}
			if err != nil {
				return fmt.Errorf("%s, fault %d: %w", c.name, i+1, err)
			}
			away, back = append(away, f.away.Seconds()), append(back, f.back.Seconds())
		}
		r.add(alone(c.name, "s", figure(away), atMost(ofValue, c.most.Seconds()), fmt.Sprintf("the last of %d streams of the node, %d faults", ringStreams, n)))
		if c.name == "cluster/recover/pause" {
			r.add(alone(c.name+"/whole", "s", figure(back), atMost(ofValue, 5), "after the node goes on, and its removal is no longer sticky"))
		}
	}
	return nil
}

// ringFault is one failure of a node.
type ringFault struct {
	*ringBench
	node    *localring.Node
	streams []string    // that it owns
	other   *sdk.Client // of another node
	away    time.Duration
	back    time.Duration
}

func (r *ringBench) newFault(node int) (*ringFault, error) {
	f := &ringFault{ringBench: r, node: r.ring.Nodes[node]}
	var err error
	if f.streams, err = r.owned(node, ringStreams); err != nil {
		return nil, err
	}
	f.other, err = dialUntil(r.ctx, r.ring.Nodes[(node+1)%ringNodes].Listen)
	return f, err
}

func (f *ringFault) close() { _ = f.other.Close() }

// again appends to each stream at the other node, as often as it takes, and returns how
// long the last one took.
func (f *ringFault) again() (time.Duration, error) {
	ctx, cancel := context.WithTimeout(f.ctx, againWithin)
	defer cancel()
	begin := time.Now()
	errs := make([]error, len(f.streams))
	var appending sync.WaitGroup
	for i, stream := range f.streams {
		appending.Go(func() { errs[i] = untilAppended(ctx, f.other, stream) })
	}
	appending.Wait()
	return time.Since(begin), errors.Join(errs...)
}

// untilAppended sends an append, again with the same id where its outcome is not known.
func untilAppended(ctx context.Context, at *sdk.Client, stream string) error {
	c := eventsTo(stream, 1)
	for {
		_, err := at.Append(ctx, c)
		if err == nil || ctx.Err() != nil || !errors.Is(err, core.CodeUnknownOutcome) && !core.AsError(err).Info().Retryable {
			return err
		}
	}
}

func (f *ringFault) kill() (err error) {
	if err := f.node.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if f.away, err = f.again(); err != nil {
		return err
	}
	if err := f.ring.Restart(f.ctx, f.node); err != nil {
		return err
	}
	return f.whole()
}

// pause stops a node that commits, so that it may hold the row of the log.
func (f *ringFault) pause() error {
	own, err := dialUntil(f.ctx, f.node.Listen)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(f.ctx)
	var load sync.WaitGroup
	defer func() {
		cancel()
		load.Wait()
		_ = own.Close()
	}()
	for i := range ringCallers / 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				_, _ = own.Append(ctx, eventsTo(f.streams[i%len(f.streams)], 1)) // what fails is what is asked for
			}
		})
	}
	time.Sleep(100 * time.Millisecond) // of load
	if err := f.node.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	f.away, err = f.again()
	resumed := time.Now()
	err = errors.Join(err, f.node.Signal(syscall.SIGCONT))
	cancel()
	if err == nil {
		err = f.whole()
	}
	if err != nil {
		return err
	}
	free, err := f.freeSince(resumed)
	f.back = max(0, time.Since(free))
	return err
}

// freeSince is when the node could come back into a view: not before resumed, nor as long
// as its removal is sticky.
func (f *ringFault) freeSince(resumed time.Time) (time.Time, error) {
	views, err := f.other.Cluster().Views(f.ctx, 0, 10)
	if err != nil {
		return resumed, err
	}
	without := slices.IndexFunc(views, func(v ring.View) bool { _, ok := v.Node(f.node.Name); return !ok })
	if without < 0 {
		return resumed, nil
	}
	if free := views[without].At.Add(ring.StickyFor); free.After(resumed) {
		return free, nil
	}
	return resumed, nil
}

// stop ends a node gracefully, while its streams are appended to.
func (f *ringFault) stop() error {
	ctx, cancel := context.WithTimeout(f.ctx, againWithin)
	defer cancel()
	var load sync.WaitGroup
	var over atomic.Bool
	longest, errs := make([]time.Duration, len(f.streams)), make([]error, len(f.streams))
	for i, stream := range f.streams {
		load.Go(func() {
			for !over.Load() && errs[i] == nil {
				begin := time.Now()
				errs[i] = untilAppended(ctx, f.other, stream)
				longest[i] = max(longest[i], time.Since(begin))
			}
		})
	}
	err := f.node.Signal(syscall.SIGTERM)
	select {
	case <-f.node.Ended():
	case <-ctx.Done():
	}
	over.Store(true)
	load.Wait()
	if err = errors.Join(append(errs, err)...); err != nil {
		return err
	}
	f.away = slices.Max(longest)
	if err := f.ring.Restart(f.ctx, f.node); err != nil {
		return err
	}
	return f.whole()
}
