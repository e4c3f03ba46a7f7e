package scavenge

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Why a part ends before its end.
var (
	errStopped  = errors.New("it was asked to")
	errReplaced = errors.New("another scavenge has taken over")
)

// part is a scavenge that runs here, from where it began or goes on.
type part struct {
	job   *Job
	begun entry                          // its record when it began
	end   context.CancelCauseFunc        // ends it
	done  atomic.Pointer[core.Scavenged] // so far; nil: nothing

	// For the goroutine of run.
	revision uint64
	moved    time.Time // when the record was last written
	counted  core.Scavenged
}

// isOf reports whether e is the record of this part.
func (p *part) isOf(e *entry) bool {
	return e.Process == p.begun.Process && e.Started.Equal(p.begun.Started)
}

// now is the part's record as it is now, in the state of e.
func (p *part) now(e entry) entry {
	state := e.State
	e = p.begun
	e.State = state
	if done := p.done.Load(); done != nil {
		e = e.after(*done, time.Now().UTC())
	}
	return e
}

// run scavenges, and says how far that is.
func (p *part) run(ctx context.Context) {
	j := p.job
	defer j.current.Store(nil)
	defer p.end(nil)
	type outcome struct {
		done core.Scavenged
		err  error
	}
	ended := make(chan outcome, 1)
	go func() {
		done, err := p.scavenge(ctx)
		ended <- outcome{done, err}
	}()
	ticks := time.NewTicker(saveEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			p.tell(ctx)
		case o := <-ended:
			if o.err == nil || o.done.Next > 0 {
				p.report(o.done)
			}
			p.finish(ctx, o.err)
			return
		}
	}
}

// scavenge removes snapshots of events that are removed, and gives back the storage of both.
func (p *part) scavenge(ctx context.Context) (core.Scavenged, error) {
	c, s := &p.job.config, p.scavenging()
	if !s.DryRun {
		snapshots := struct {
			core.SnapshotReader
			Commits
		}{c.Store, c.Commits}
		if err := core.RemoveStaleSnapshots(ctx, snapshots, s.Pace()); err != nil {
			return core.Scavenged{}, err
		}
	}
	return c.Store.Scavenge(ctx, s)
}

func (p *part) scavenging() core.Scavenging {
	r := p.begun.Request
	s := core.Scavenging{All: r.All, DryRun: r.DryRun, BytesPerSecond: r.BytesPerSecond, Table: table, Report: p.report}
	if !r.DryRun {
		s.From = p.begun.Place.Next
	}
	return s
}

// report takes over how far it is.
func (p *part) report(done core.Scavenged) {
	if !p.begun.DryRun {
		p.job.totals.won.Add(done.Won - p.counted.Won)
		p.job.totals.events.Add(done.Events - p.counted.Events)
	}
	p.counted = done
	p.done.Store(&done)
}

// tell writes how far it is, and learns whether it is to end.
func (p *part) tell(ctx context.Context) {
	e := p.now(p.begun)
	err := p.save(ctx, &e)
	switch {
	case err == nil:
		p.moved = time.Now()
	case errors.Is(err, errStopped) || errors.Is(err, errReplaced):
		p.end(err)
	case time.Since(p.moved) >= aliveFor-2*saveEvery:
		p.end(err) // before others take it for interrupted
	}
}

// save writes the record. If another has written it since, the error is errStopped or
// errReplaced.
func (p *part) save(ctx context.Context, e *entry) error {
	j := p.job
	ctx, cancel := context.WithTimeout(ctx, saveWithin)
	defer cancel()
	revision, err := j.save(ctx, p.revision, e)
	if err == nil {
		p.revision = revision
		return nil
	}
	if !errors.Is(err, core.CodeRecordConflict) && !errors.Is(err, core.CodeUnknownOutcome) {
		return err
	}
	revision, now, loadErr := j.load(ctx)
	switch {
	case loadErr != nil:
		return err
	case !p.isOf(&now):
		return errReplaced
	case now.State == Stopping:
		p.revision = revision
		return errStopped
	}
	p.revision = revision // an earlier try was written
	return err
}

// finish writes what became of it.
func (p *part) finish(ctx context.Context, err error) {
	j, cause := p.job, context.Cause(ctx)
	e := p.now(p.begun)
	switch {
	case err == nil:
		e.State, e.Progress = Done, 1
	case errors.Is(cause, errReplaced):
		return
	case errors.Is(cause, errStopped):
		e.State = Stopped
	case j.closing.Err() != nil:
		e.State = Interrupted
	default:
		if cause != nil {
			err = cause
		}
		known := core.AsError(err)
		e.State, e.Problem = Failed, &Problem{known.Code, known.Detail}
		j.config.Logger.Error("the scavenge has failed", "error", err)
	}
	e.Changed = time.Now().UTC()
	if !e.DryRun {
		j.totals.ended.Store(e.Changed.Unix())
	}
	ctx = context.WithoutCancel(ctx)
	saved := p.save(ctx, &e)
	if errors.Is(saved, errStopped) || errors.Is(saved, core.CodeRecordConflict) || errors.Is(saved, core.CodeUnknownOutcome) {
		saved = p.save(ctx, &e) // with the revision that was found
	}
	if saved != nil && !errors.Is(saved, errReplaced) {
		j.config.Logger.Warn("what became of the scavenge is not stored", "state", e.State, "error", saved)
	}
}
