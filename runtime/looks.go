package runtime

import (
	"context"
	"sync"
	"time"
)

// lookWithin bounds a look.
const lookWithin = 5 * time.Second

// looks shares what is seen in storage, for /metrics and Stats. A look is made when somebody asks
// and the last one is old. It is safe for concurrent use.
type looks[T any] struct {
	look func(context.Context) (T, error)

	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	running sync.WaitGroup // the look under way

	mu     sync.Mutex // protects the fields below
	seen   T          // by the last look without an error
	err    error      // of the last look
	at     time.Time  // when that ended; zero: there was none
	looked chan struct{}
}

func newLooks[T any](look func(context.Context) (T, error)) *looks[T] {
	l := &looks[T]{look: look}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// get returns what was seen last, and the error of the last look. If that is older than age, it
// waits for a new one, for as long as wait; for the first one until it ends.
func (l *looks[T]) get(age, wait time.Duration) (T, error) {
	if looked, first := l.begin(age); looked != nil {
		if first {
			wait = lookWithin
		}
		late := time.NewTimer(wait)
		defer late.Stop()
		select {
		case <-looked:
		case <-late.C:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen, l.err
}

// begin returns a channel that is closed when the look under way ends, and begins one if the last
// one is older than age; nil: none is under way.
func (l *looks[T]) begin(age time.Duration) (looked <-chan struct{}, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looked == nil && l.ctx.Err() == nil && (l.at.IsZero() || time.Since(l.at) >= age) {
		l.looked = make(chan struct{})
		l.running.Go(l.once)
	}
	return l.looked, l.at.IsZero()
}

func (l *looks[T]) once() {
	ctx, cancel := context.WithTimeout(l.ctx, lookWithin)
	defer cancel()
	seen, err := l.look(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err == nil {
		l.seen = seen
	}
	l.at = time.Now()
	close(l.looked)
	l.looked = nil
}

// close ends the look under way. There are none afterwards.
func (l *looks[T]) close() {
	l.mu.Lock()
	l.cancel()
	l.mu.Unlock()
	l.running.Wait()
}
