package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
	"github.com/gyre-events/gyre/core/postgres"
)

const (
	// scavengedEvents are written for each round, of which every other goes.
	scavengedEvents = 400_000
	scavengeWorkers = 4
	scavengeBytes   = 200 // of an event's data
)

// benchScavenge measures appends beside a scavenge of everything, without a bound of its rate,
// against the same appends alone.
func benchScavenge(b *bench) (err error) {
	engine, err := disk.Open(b.ctx, disk.Config{Dir: filepath.Join(b.dir, "streams-scavenge")})
	if err != nil {
		return err
	}
	if err := benchScavengeOf(b, "disk", engine); err != nil {
		return err
	}
	server, err := b.startPostgres()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	shared, err := postgres.Open(b.ctx, postgres.Config{URL: server.URL, Store: "scavenged"})
	if err != nil {
		return err
	}
	return benchScavengeOf(b, "postgres", shared)
}

func benchScavengeOf(b *bench, on string, engine core.Engine) (err error) {
	store := core.NewStore(engine, core.StoreConfig{})
	defer func() { err = errors.Join(err, store.Close()) }()
	scavenger, ok := engine.(core.Scavenger)
	if !ok {
		return fmt.Errorf("%s has no scavenge", on)
	}
	var beside, alone time.Duration
	round := 0
	p, err := pair(rounds,
		func() (sample, error) {
			round++
			if err := fillScavenged(b, store, round); err != nil {
				return sample{}, err
			}
			begun := time.Now()
			p99, err := appendDuring(b, store, func(ctx context.Context) error {
				done, err := scavenger.Scavenge(ctx, core.Scavenging{All: true, Fate: oddGoes})
				if err == nil && done.Events == 0 {
					err = errors.New("nothing has gone")
				}
				return err
			})
			beside = time.Since(begun)
			return p99, err
		},
		func() (sample, error) {
			alone = max(beside, time.Second)
			return appendDuring(b, store, func(ctx context.Context) error {
				select {
				case <-time.After(alone):
				case <-ctx.Done():
				}
				return ctx.Err()
			})
		})
	if err != nil {
		return err
	}
	p.note = fmt.Sprintf("p99 of appends by %d workers while every other of %d events goes, for %.1f s; floor: the same appends alone",
		scavengeWorkers, b.n(scavengedEvents), beside.Seconds())
	b.add(p.result("streams/scavenge/"+on, "ms", atMost(ofRatio, 2)))
	return nil
}

// oddGoes has every other event go.
func oddGoes(_ context.Context, e *core.Event) (core.Fate, error) {
	if e.Version%2 == 1 && core.CategoryOf(e.Stream) == "old" {
		return core.Goes, nil
	}
	return core.Stays, nil
}

// fillScavenged writes the events of a round.
func fillScavenged(b *bench, store *core.Store, round int) error {
	b.progress("streams/scavenge: round %d", round)
	data := make([]byte, scavengeBytes)
	for n := 0; n < b.n(scavengedEvents); n += streamsPerStep {
		a := core.Append{Stream: fmt.Sprintf("old-%d-%d", round, n%100_000), Expect: core.AnyVersion}
		for range streamsPerStep {
			a.Events = append(a.Events, core.NewEvent{ID: core.NewID(), Type: "T", Format: core.Bytes, Data: data})
		}
		if _, err := store.Append(b.ctx, core.Commit{Appends: []core.Append{a}}); err != nil {
			return err
		}
	}
	return nil
}

// appendDuring returns the p99 of appends, in ms, until something ends.
func appendDuring(b *bench, store *core.Store, something func(ctx context.Context) error) (sample, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var running sync.WaitGroup
	took, errs := make([][]time.Duration, scavengeWorkers), make([]error, scavengeWorkers)
	for w := range scavengeWorkers {
		running.Go(func() {
			for ctx.Err() == nil && errs[w] == nil {
				begun := time.Now()
				_, errs[w] = store.Append(b.ctx, core.Commit{Appends: []core.Append{{Stream: fmt.Sprint("beside-", w), Expect: core.AnyVersion,
					Events: []core.NewEvent{{ID: core.NewID(), Type: "T", Data: []byte(`{"total":10}`)}}}}})
				took[w] = append(took[w], time.Since(begun))
			}
		})
	}
	err := something(b.ctx)
	cancel()
	running.Wait()
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	return sample{value: inMillis(quantile(all, 0.99)), ops: len(all)}, errors.Join(append(errs, err)...)
}
