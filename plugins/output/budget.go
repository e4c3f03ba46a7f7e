package output

import (
	"fmt"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

const (
	// BytesPerMinute is how much a binding may log, and how much it may log at once.
	BytesPerMinute = 1 << 20
	// maxWaitingBytes bounds the lines of a binding that wait in memory, where they cannot
	// be written.
	maxWaitingBytes = 1 << 20
	// lineOverhead is about what a line has beside its text, in the store and in memory.
	lineOverhead = 160
)

// budget is a token bucket of bytes, and what was dropped because it was empty.
type budget struct {
	left  int64
	since time.Time // when left was right

	lines, bytes int // dropped, and not reported yet
}

func newBudget(now time.Time) budget { return budget{left: BytesPerMinute, since: now} }

// take takes n bytes, or nothing if there are fewer.
func (b *budget) take(now time.Time, n int) bool {
	if earned := int64(now.Sub(b.since).Seconds() * BytesPerMinute / 60); earned > 0 {
		b.left, b.since = min(b.left+earned, BytesPerMinute), now
	}
	if b.left < int64(n) {
		return false
	}
	b.left -= int64(n)
	return true
}

func (b *budget) drop(n int) {
	b.lines++
	b.bytes += n
}

// report returns a line about what was dropped since the last one; ok is false if nothing was.
func (b *budget) report(now time.Time) (line plugins.LogLine, ok bool) {
	if b.lines == 0 {
		return line, false
	}
	line = plugins.LogLine{Time: now.UTC(), Level: abi.Warn.String(),
		Text: fmt.Sprintf("%d more lines, of %d bytes, were dropped: a binding may log %d KiB a minute", b.lines, b.bytes, BytesPerMinute>>10)}
	b.lines, b.bytes = 0, 0
	return line, true
}
