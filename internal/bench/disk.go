package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/disk"
)

const (
	// eventBytes is the size of an encoded event, which the floors use too.
	eventBytes = 430
	// window is how long one run of a measure takes, and of its floor.
	window = 1500 * time.Millisecond
	// floorFileBytes is more than a floor writes in a window, except in steps
	// of a megabyte.
	floorFileBytes = 512 << 20
)

// benchDisk measures the embedded engine through the Store: first ten million
// events in commits of 1,024, then, on that log, the smaller commits and the
// reads.
func benchDisk(b *bench) error {
	dir := filepath.Join(b.dir, "disk")
	engine, err := disk.Open(b.ctx, disk.Config{Dir: dir})
	if err != nil {
		return err
	}
	store := core.NewStore(engine, core.StoreConfig{})
	defer func() { _ = store.Close() }()
	if err := benchAppends(b, store); err != nil {
		return err
	}
	return benchReads(b, store, dir)
}

// benchAppends measures appends against writing and syncing the same bytes.
func benchAppends(b *bench, store *core.Store) error {
	cases := []struct {
		name      string
		rounds    int
		perCommit int
		appenders int
		perSync   int // events of one sync of the floor
		events    int // of one run; 0 = what a window takes
		bar       *bar
	}{
		{"disk/append/batch1024", 10, 1024, 4, 1024, b.n(1_000_000), atLeast(ofRatio, 0.3)},
		{"disk/append/concurrent64", rounds, 1, 64, 64, 0, atLeast(ofRatio, 0.35)},
		{"disk/append/single", rounds, 1, 1, 1, 0, atLeast(ofRatio, 0.75)},
	}
	for _, c := range cases {
		b.progress("%s: %d rounds", c.name, c.rounds)
		load := &load{log: store, perCommit: c.perCommit, appenders: c.appenders}
		p, err := pair(c.rounds,
			func() (sample, error) { return load.run(b.ctx, c.events, window) },
			func() (sample, error) { return appendFloor(b.dir, c.perSync, c.events, window) })
		if err != nil {
			return err
		}
		p.note = fmt.Sprintf("log of %d events", store.State().Head)
		b.add(p.result(c.name, "events/s", c.bar))
	}
	return nil
}

// load appends events from a number of goroutines, each with one Commit at a
// time to a stream of its own, a new one every hundred commits.
type load struct {
	log       core.Log
	perCommit int
	appenders int
	commits   atomic.Uint64
}

// payload makes an encoded event eventBytes long.
var payload = func() []byte {
	const overhead = 62 // of the encoding, with the names used here
	data := make([]byte, eventBytes-overhead)
	for i := range data {
		data[i] = 'a' + byte(i%26)
	}
	data[0], data[len(data)-1] = '"', '"'
	return data
}()

// newEvents are n events as a client sends them: with ids of their own.
func newEvents(n int) []core.NewEvent {
	events := make([]core.NewEvent, n)
	for i := range events {
		events[i] = core.NewEvent{ID: core.NewID(), Type: "OrderPlaced", Data: payload}
	}
	return events
}

// run appends n events, or for d if n is 0, and returns events a second.
func (l *load) run(ctx context.Context, n int, d time.Duration) (sample, error) {
	var running sync.WaitGroup
	var written atomic.Int64
	var failure atomic.Pointer[error]
	begin := time.Now()
	more := func() bool {
		if n > 0 {
			return written.Add(int64(l.perCommit)) <= int64(n)
		}
		written.Add(int64(l.perCommit))
		return time.Since(begin) < d
	}
	for range l.appenders {
		running.Go(func() {
			for more() && failure.Load() == nil {
				if err := l.append(ctx); err != nil {
					failure.Store(&err)
				}
			}
		})
	}
	running.Wait()
	if err := failure.Load(); err != nil {
		return sample{}, *err
	}
	return rate(int(written.Load())-l.appenders*l.perCommit, begin), nil
}

func (l *load) append(ctx context.Context) error {
	n := l.commits.Add(1)
	_, err := l.log.Append(ctx, core.Commit{Appends: []core.Append{{
		Stream: fmt.Sprintf("order-%07d", n/6400*64+n%64),
		Expect: core.AnyVersion,
		Events: newEvents(l.perCommit),
	}}})
	return err
}

// benchReads measures following from storage against reading the files.
func benchReads(b *bench, store *core.Store, dir string) error {
	p, err := pair(rounds,
		func() (sample, error) { return followFor(b.ctx, store, window) },
		func() (sample, error) { return readFiles(filepath.Join(dir, "log"), window) })
	if err != nil {
		return err
	}
	b.add(p.result("disk/follow", "events/s", nil))
	return nil
}

// followFor follows $all from the start for d, or to the head.
func followFor(ctx context.Context, log core.Log, d time.Duration) (sample, error) {
	follower, err := log.Follow(ctx, core.FollowRequest{Stream: core.All})
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = follower.Close() }()
	begin := time.Now()
	events := 0
	for time.Since(begin) < d {
		got, err := follower.Next(ctx, core.Limit{Events: core.MaxReadEvents, Bytes: 256 << 10})
		if err != nil {
			return sample{}, err
		}
		events += got.Count
		if got.Live {
			break
		}
	}
	return rate(events, begin), nil
}

// readFiles reads the log's files from the start for d, in the size that a
// page has, and counts the events that fit the bytes.
func readFiles(dir string, d time.Duration) (sample, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return sample{}, err
	}
	buf := make([]byte, 256<<10)
	begin := time.Now()
	total := 0
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name.Name()))
		if err != nil {
			return sample{}, err
		}
		for time.Since(begin) < d {
			n, err := f.Read(buf)
			total += n
			if err != nil {
				break
			}
		}
		_ = f.Close()
	}
	if total == 0 {
		return sample{}, errors.New("the log has no files")
	}
	return rate(total/eventBytes, begin), nil
}
