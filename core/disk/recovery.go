package disk

import (
	"sync"
	"time"
)

// recovery remembers why the log cannot go on, and has one goroutine that tries
// to mend it, at growing intervals. Every Commit may try as well, when an
// interval is over.
type recovery struct {
	try func() error // begins a new segment; takes Engine.mu

	mu       sync.Mutex
	maxPause time.Duration
	err      error // nil while all is well
	next     time.Time
	pause    time.Duration

	wake chan struct{} // capacity 1: something has failed
	quit chan struct{}
	done sync.WaitGroup
}

// The intervals between two tries.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

func newRecovery(try func() error) *recovery {
	r := &recovery{try: try, maxPause: lastPause, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	r.done.Go(r.run)
	return r
}

// run tries until it works, each time something has failed.
func (r *recovery) run() {
	for {
		select {
		case <-r.quit:
			return
		case <-r.wake:
		}
		for r.try() != nil {
			timer := time.NewTimer(r.interval())
			select {
			case <-r.quit:
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}
}

// mend has the goroutine try.
func (r *recovery) mend() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// block says that a try has failed.
func (r *recovery) block(err error) {
	r.mu.Lock()
	r.err = err
	r.pause = min(max(2*r.pause, firstPause), r.maxPause)
	r.next = time.Now().Add(r.pause)
	r.mu.Unlock()
	r.mend()
}

// clear says that all is well again.
func (r *recovery) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err, r.pause = nil, 0
}

// blocked is why the last try failed, or nil.
func (r *recovery) blocked() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// due reports whether it is time for another try.
func (r *recovery) due() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !time.Now().Before(r.next)
}

func (r *recovery) interval() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(r.pause, min(firstPause, r.maxPause))
}

func (r *recovery) close() {
	close(r.quit)
	r.done.Wait()
}
