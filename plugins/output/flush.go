package output

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// maxTries is how often the lines of a binding are tried to be written at a time. Another node
// may have written to the log: while a binding moves, or when this node had it before.
const maxTries = 3

// flush writes the lines of a binding that wait. If that fails, they wait on.
func (o *Outputs) flush(ctx context.Context, b *binding) error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, flushWithin)
	defer cancel()
	for try := 1; ; try++ {
		lines := b.lines()
		if len(lines) == 0 {
			return nil
		}
		err := o.write(ctx, b, lines)
		if err == nil {
			return nil
		}
		b.index = nil
		if try == maxTries || ctx.Err() != nil || !errors.Is(err, core.CodeRecordConflict) && !errors.Is(err, core.CodeUnknownOutcome) {
			return err
		}
	}
}

// lines returns what waits, with a line about what was dropped.
func (b *binding) lines() []plugins.LogLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	if line, ok := b.budget.report(time.Now()); ok {
		b.waiting = append(b.waiting, line)
	}
	return slices.Clone(b.waiting)
}

// drop takes the first n lines, which have been written, out of what waits.
func (o *Outputs) drop(b *binding, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = slices.Delete(b.waiting, 0, n)
	b.bytes = 0
	for i := range b.waiting {
		b.bytes += lineOverhead + len(b.waiting[i].Text)
	}
	if len(b.waiting) > 0 || b.budget.lines > 0 { // logged meanwhile, when the goroutine was awake
		o.wakeUp()
	}
	close(b.written)
	b.written = make(chan struct{})
}

// write makes one Commit of lines, unless the Commit that was tried before turns out to be made.
func (o *Outputs) write(ctx context.Context, b *binding, lines []plugins.LogLine) (err error) {
	if b.index == nil {
		if b.index, err = o.readIndex(ctx, b.name); err != nil {
			return err
		}
	}
	if t := b.tried; t.lines > 0 && b.index.Writer == o.writer && b.index.Serial == t.serial {
		b.tried = attempt{}
		o.drop(b, t.lines)
		if lines = lines[t.lines:]; len(lines) == 0 {
			return nil
		}
	}
	if b.index.First > b.first { // the binding was deleted, and another has its name
		b.forget()
		return nil
	}
	next := *b.index
	next.Serial = next.Serial + 1
	if next.Writer != o.writer {
		next.Writer, next.Serial = o.writer, 1
	}
	var ops []core.RecordOp
	if next.First < b.first {
		ops = removeChunks(b.name, next.chunks) // of a binding that was deleted
		next.First, next.chunks = b.first, nil
	}
	more, err := o.plan(ctx, b.name, &next, lines)
	if err != nil {
		return err
	}
	ops = append(ops, more...)
	b.tried = attempt{next.Serial, len(lines)}
	if _, err = o.store.Append(ctx, core.Commit{Records: ops, Lazy: true}); err != nil {
		return err
	}
	b.tried = attempt{}
	o.drop(b, len(lines))
	next.revision++
	b.index = &next
	return nil
}

func (o *Outputs) readIndex(ctx context.Context, binding string) (*index, error) {
	records, err := o.store.Records(ctx, core.RecordsRequest{Table: table, Keys: []string{binding}, Limit: 1})
	if err != nil {
		return nil, err
	}
	return openIndex(records)
}

// plan changes an index for new lines, and returns the operations of its Commit.
func (o *Outputs) plan(ctx context.Context, binding string, i *index, lines []plugins.LogLine) (ops []core.RecordOp, err error) {
	first := i.Next
	rows, err := i.number(lines)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, row := range rows {
		size += len(row)
	}
	kept := len(i.chunks) - i.merge(size)
	merged := i.chunks[kept:]
	if len(merged) > 0 {
		before, err := o.texts(ctx, binding, merged)
		if err != nil {
			return nil, err
		}
		first, rows = merged[0].first, append(before, rows...)
	}
	chunks, texts := cut(first, rows)
	ops = removeChunks(binding, merged)
	for k, c := range chunks {
		ops = append(ops, core.RecordOp{Table: table, Key: c.key(binding), Expect: core.AnyVersion, Value: texts[k]})
	}
	i.chunks = slices.Concat(i.chunks[:kept], chunks)
	ops = append(ops, removeChunks(binding, i.trim())...)
	value, err := i.encode()
	if err != nil {
		return nil, err
	}
	return append(ops, core.RecordOp{Table: table, Key: binding, Expect: core.Expect(i.revision), Value: value}), nil
}

func removeChunks(binding string, chunks []chunk) (ops []core.RecordOp) {
	for _, c := range chunks {
		ops = append(ops, core.RecordOp{Table: table, Key: c.key(binding), Expect: core.AnyVersion, Action: core.DeleteRecord})
	}
	return ops
}

// texts returns the rows of chunks.
func (o *Outputs) texts(ctx context.Context, binding string, chunks []chunk) (rows [][]byte, err error) {
	records, err := o.chunks(ctx, binding, chunks)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		rows = slices.AppendSeq(rows, bytes.Lines(r.Value))
	}
	return rows, nil
}

// chunks returns the records of chunks, in order. If one is missing, another node has just
// replaced it.
func (o *Outputs) chunks(ctx context.Context, binding string, chunks []chunk) ([]core.Record, error) {
	keys := make([]string, len(chunks))
	for k, c := range chunks {
		keys[k] = c.key(binding)
	}
	records, err := o.store.Records(ctx, core.RecordsRequest{Table: table, Keys: keys, Limit: len(keys)})
	if err == nil && len(records) < len(keys) {
		err = core.Errorf(core.CodeRecordConflict, "the log of binding %q has changed meanwhile", binding)
	}
	return records, err
}
