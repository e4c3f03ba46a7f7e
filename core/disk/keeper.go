package disk

import (
	"sync"
	"time"
)

// keeper remembers why the log cannot go on, and has one goroutine that tries
// to mend it, at growing intervals. Every Commit may try as well, when an
// interval is over.
type keeper struct {
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

func newKeeper(try func() error) *keeper {
	k := &keeper{try: try, maxPause: lastPause, wake: make(chan struct{}, 1), quit: make(chan struct{})}
	k.done.Go(k.run)
	return k
}

// run tries until it works, each time something has failed.
func (k *keeper) run() {
	for {
		select {
		case <-k.quit:
			return
		case <-k.wake:
		}
		for k.try() != nil {
			timer := time.NewTimer(k.interval())
			select {
			case <-k.quit:
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}
}

// mend has the goroutine try.
func (k *keeper) mend() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// block says that a try has failed.
func (k *keeper) block(err error) {
	k.mu.Lock()
	k.err = err
	k.pause = min(max(2*k.pause, firstPause), k.maxPause)
	k.next = time.Now().Add(k.pause)
	k.mu.Unlock()
	k.mend()
}

// clear says that all is well again.
func (k *keeper) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.pause = nil, 0
}

// blocked is why the last try failed, or nil.
func (k *keeper) blocked() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err
}

// due reports whether it is time for another try.
func (k *keeper) due() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !time.Now().Before(k.next)
}

func (k *keeper) interval() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.pause, min(firstPause, k.maxPause))
}

func (k *keeper) close() {
	close(k.quit)
	k.done.Wait()
}
