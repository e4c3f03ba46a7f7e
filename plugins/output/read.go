package output

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

const (
	// pollEvery is how often a log is looked at that another node may write to.
	pollEvery = time.Second
	// readChunks is how many chunks are read at a time.
	readChunks = 8
)

// Read returns lines of a binding's log, at any node. A binding that has logged nothing, or
// does not exist, has no lines. An After that the log does not have yet, because the binding
// was deleted and made again, stands for the beginning. With a Wait, it returns as soon as
// there is a line: at once for those that this node writes, and within a second for those of
// another.
func (o *Outputs) Read(ctx context.Context, binding string, r plugins.LogsRequest) (plugins.LogsPage, error) {
	if r.Limit <= 0 || r.Limit > core.MaxReadEvents {
		r.Limit = core.MaxReadEvents
	}
	var late <-chan time.Time
	if r.Wait > 0 {
		timer := time.NewTimer(r.Wait)
		defer timer.Stop()
		late = timer.C
	}
	for conflicts := 0; ; {
		written := o.written(binding)
		page, err := o.read(ctx, binding, r)
		switch {
		case errors.Is(err, core.CodeRecordConflict) && conflicts < maxTries:
			conflicts++
			continue
		case err != nil || len(page.Lines) > 0 || late == nil:
			return page, err
		}
		poll := time.NewTimer(pollEvery)
		select {
		case <-written:
		case <-poll.C:
		case <-late:
			late = nil
		case <-ctx.Done():
			err = core.AsError(ctx.Err())
		case <-o.ctx.Done():
			err = core.Errorf(core.CodeShuttingDown, "the node stops")
		}
		poll.Stop()
		if err != nil || late == nil {
			return page, err
		}
		r.After, r.Last = page.Next, 0
	}
}

func (o *Outputs) read(ctx context.Context, binding string, r plugins.LogsRequest) (page plugins.LogsPage, err error) {
	i, err := o.readIndex(ctx, binding)
	if err != nil {
		return page, err
	}
	after := i.after(r)
	page = plugins.LogsPage{Next: after, End: true}
	// The chunk that begins last at or before the line is the first to read.
	from := len(i.chunks)
	for from > 0 && i.chunks[from-1].first > after+1 {
		from--
	}
	for rest := i.chunks[max(from-1, 0):]; len(rest) > 0 && len(page.Lines) <= r.Limit; {
		some := rest[:min(len(rest), readChunks)]
		rest = rest[len(some):]
		records, err := o.chunks(ctx, binding, some)
		if err != nil {
			return page, err
		}
		for _, record := range records {
			lines, err := decodeChunk(record, after)
			if err != nil {
				return page, err
			}
			page.Lines = append(page.Lines, lines...)
		}
	}
	if len(page.Lines) > r.Limit {
		page.Lines, page.End = slices.Clip(page.Lines[:r.Limit]), false
	}
	if n := len(page.Lines); n > 0 {
		page.Next = page.Lines[n-1].Seq
	}
	return page, nil
}

// after returns the sequence number behind which a page begins.
func (i *index) after(r plugins.LogsRequest) uint64 {
	switch {
	case r.Last > 0:
		return i.Next - 1 - min(uint64(r.Last), i.Next-1)
	case r.After >= i.Next:
		return 0
	}
	return r.After
}

// written returns a channel that is closed when this node writes to a log; nil if it does not
// run the binding.
func (o *Outputs) written(name string) <-chan struct{} {
	o.mu.Lock()
	b, ok := o.bindings[name]
	o.mu.Unlock()
	if !ok {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written
}

// Delete removes the log of a binding that was deleted with its generations up to one, and
// forgets it and its metrics. What another binding of its name has logged stays.
func (o *Outputs) Delete(ctx context.Context, name string, generation uint64) error {
	o.mu.Lock()
	b, ok := o.bindings[name]
	if ok = ok && b.first <= generation; ok {
		delete(o.bindings, name)
	}
	o.mu.Unlock()
	if ok { // what waits, or is being written, does not come after the deletion
		b.flushing.Lock()
		defer b.flushing.Unlock()
		b.forget()
	}
	for try := 1; ; try++ {
		err := o.remove(ctx, name, generation)
		if try == maxTries || !errors.Is(err, core.CodeRecordConflict) {
			return err
		}
	}
}

func (o *Outputs) remove(ctx context.Context, name string, generation uint64) error {
	i, err := o.readIndex(ctx, name)
	if err != nil || i.revision == 0 || i.First > generation {
		return err
	}
	ops := append(removeChunks(name, i.chunks),
		core.RecordOp{Table: table, Key: name, Expect: core.Expect(i.revision), Action: core.DeleteRecord})
	_, err = o.store.Append(ctx, core.Commit{Records: ops})
	return err
}
