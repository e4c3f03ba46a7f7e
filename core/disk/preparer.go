package disk

import (
	"errors"
	"math"
	"sync"
)

// preparer keeps the next segment ready, so that rolling costs one small write
// and not the filling of a file. One goroutine does the work; ask, take and close
// are called by the owner of Engine.mu.
type preparer struct {
	make func(number uint32, p *pace) (File, error)
	pace *pace

	asked uint32 // the segment that is being made or is ready; 0 = none
	want  chan uint32
	ready chan prepared
	done  sync.WaitGroup
}

type prepared struct {
	file File
	err  error
}

func newPreparer(make_ func(number uint32, p *pace) (File, error)) *preparer {
	p := &preparer{make: make_, pace: newPace(), want: make(chan uint32, 1), ready: make(chan prepared, 1)}
	p.done.Go(func() {
		for number := range p.want {
			file, err := p.make(number, p.pace)
			p.ready <- prepared{file, err}
		}
	})
	return p
}

// ask has a segment made ahead, at the pace of the one that is written.
func (p *preparer) ask(number uint32) {
	if p.asked == 0 {
		p.asked = number
		p.pace.set(0)
		p.want <- number
	}
}

// take returns the file of a segment, waiting until it is made. What went
// wrong while it was made ahead may be over: then it is tried once more.
func (p *preparer) take(number uint32) (File, error) {
	for {
		ahead := p.asked
		p.ask(number)
		p.pace.set(math.MaxInt64)
		r := <-p.ready
		p.asked = 0
		switch {
		case ahead == 0, r.err == nil && ahead == number:
			return r.file, r.err
		case r.err == nil:
			_ = r.file.Close()
		}
	}
}

// close ends the goroutine. What it has made is removed when the log is next
// opened, or taken then.
func (p *preparer) close() {
	close(p.want)
	p.pace.stop()
	p.done.Wait()
	if p.asked != 0 {
		if r := <-p.ready; r.err == nil {
			_ = r.file.Close()
		}
		p.asked = 0
	}
}

// pace has the next segment grow with the one that is written, and not at once: while
// a disk takes all that it can of zeros, appends wait for their syncs.
type pace struct {
	mu      sync.Mutex // protects the fields below
	moved   sync.Cond
	due     int64 // how far the file may be filled
	wanted  int64 // by the caller that waits
	stopped bool
}

func newPace() *pace {
	p := &pace{}
	p.moved.L = &p.mu
	return p
}

// unpaced allows all at once.
func unpaced() *pace {
	p := newPace()
	p.set(math.MaxInt64)
	return p
}

// paceAhead is how much faster the next segment grows, so that it is ready in time.
const paceAhead = 2

// written says that the segment that is written has that many bytes.
func (p *pace) written(n int64) { p.set(paceAhead * n) }

func (p *pace) set(due int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due = due; due >= p.wanted {
		p.moved.Signal()
	}
}

func (p *pace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	p.moved.Signal()
}

// await waits until a file that is filled up to done may be filled on.
func (p *pace) await(done int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.wanted = done; !p.stopped && p.due < done; {
		p.moved.Wait()
	}
	if p.stopped {
		return errStopped
	}
	return nil
}

var errStopped = errors.New("the log is closing")
