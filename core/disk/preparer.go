package disk

import "sync"

// preparer keeps the next segment ready, so that rolling costs one small write
// and not the filling of a file. One goroutine does the work; take and close
// are called by the owner of Engine.mu.
type preparer struct {
	make func(number uint32) (File, error)

	asked uint32 // the segment that is being made or is ready; 0 = none
	want  chan uint32
	ready chan prepared
	done  sync.WaitGroup
}

type prepared struct {
	file File
	err  error
}

func newPreparer(make_ func(number uint32) (File, error)) *preparer {
	p := &preparer{make: make_, want: make(chan uint32, 1), ready: make(chan prepared, 1)}
	p.done.Go(func() {
		for number := range p.want {
			file, err := p.make(number)
			p.ready <- prepared{file, err}
		}
	})
	return p
}

// ask has a segment made ahead.
func (p *preparer) ask(number uint32) {
	if p.asked == 0 {
		p.asked = number
		p.want <- number
	}
}

// take returns the file of a segment, waiting until it is made. What went
// wrong while it was made ahead may be over: then it is tried once more.
func (p *preparer) take(number uint32) (File, error) {
	for {
		ahead := p.asked
		p.ask(number)
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
	p.done.Wait()
	if p.asked != 0 {
		if r := <-p.ready; r.err == nil {
			_ = r.file.Close()
		}
		p.asked = 0
	}
}
