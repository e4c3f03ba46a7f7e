package disk

import (
	"fmt"

	"github.com/gyre-events/gyre/core"
)

// timelineTable has a record for each timeline of the log, under keys that ascend: the
// text of a core.Cursor with its name and the head when it began.
const timelineTable = "$timelines"

// maxTimelines is how many are kept. A cursor that was given out so many openings ago is
// log_changed.
const maxTimelines = 16 << 10

// beginTimeline reads the timelines of the log and begins the next. It must be durable
// before a cursor is given out, and be called before any Commit.
func (e *Engine) beginTimeline() error {
	stored, err := e.records.list(core.RecordsRequest{Table: timelineTable, Limit: 2 * maxTimelines})
	if err != nil {
		return err
	}
	next := core.Timeline{Name: e.id + newWord(timelineBytes), After: e.writer.last.head, Log: e.id}
	key := timelineKey(0)
	for i := range stored {
		c, err := core.ParseCursor(string(stored[i].Value))
		if err != nil {
			return core.Errorf(core.CodeStoreCorrupt, "timeline %s of the log is %q", stored[i].Key, stored[i].Value)
		}
		e.timelines = append(e.timelines, core.Timeline{
			Name: c.Log, After: c.Position, Log: c.Log[:max(len(c.Log)-timelineBytes, 0)],
		})
		key = timelineAfter(stored[i].Key)
	}
	e.timelines = append(e.timelines, next)
	changes := []recordChange{{
		table: timelineTable, key: key, revision: 1,
		value: []byte(core.Cursor{Log: next.Name, Position: next.After}.String()),
	}}
	if over := len(e.timelines) - maxTimelines; over > 0 {
		e.timelines = e.timelines[over:]
		for _, r := range stored[:over] {
			changes = append(changes, recordChange{table: timelineTable, key: r.Key})
		}
	}
	return e.writeAlone(changes)
}

// timelineBytes is the length of what a timeline's name has beside the log's identity.
const timelineBytes = 8

func timelineKey(n uint64) string { return fmt.Sprintf("%016x", n) }

func timelineAfter(key string) string {
	var n uint64
	_, _ = fmt.Sscanf(key, "%x", &n) // it is one of ours
	return timelineKey(n + 1)
}

// writeAlone writes a frame with records and nothing else, and makes it durable.
func (e *Engine) writeAlone(changes []recordChange) error {
	w := &e.writer
	w.builder.begin(frameHeader{first: w.last.head + 1, durable: e.appender.durable.Load().end, recorded: w.last.recorded})
	w.builder.records(changes)
	w.finish()
	e.records.stage(w.last.end, changes)
	var none core.Batch
	if err := e.flush(&none); err != nil {
		return openError(err)
	}
	if err := e.appender.syncWritten(); err != nil {
		return openError(err)
	}
	return nil
}
