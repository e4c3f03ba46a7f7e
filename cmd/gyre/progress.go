package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// plainEvery is how often long work reports its progress without a terminal.
const plainEvery = 5 * time.Second

// meter shows how far long work is: a bar on a terminal, else a line every few
// seconds. It is used by one goroutine.
type meter struct {
	w       io.Writer // without a terminal
	screen  *screen   // with one
	label   string
	total   int64
	started time.Time

	// With a terminal.
	tracker  *progress.Tracker
	rendered sync.WaitGroup

	// Without one.
	lastLine time.Time
}

// newMeter starts showing. total is in whatever units set is called with; 0 means
// that it is not known.
func (a *app) newMeter(label string, total int64) *meter {
	m := &meter{w: a.stderr, label: label, total: total, started: time.Now(), lastLine: time.Now()}
	s, ok := a.stderr.(*screen)
	if !ok {
		return m
	}
	m.screen = s
	w := progress.NewWriter()
	w.SetOutputWriter(writerFunc(s.draw))
	w.SetAutoStop(true)
	w.SetUpdateFrequency(100 * time.Millisecond)
	w.SetTrackerLength(30)
	w.SetStyle(progress.StyleBlocks)
	w.Style().Visibility.Value = false
	w.Style().Visibility.ETA = total > 0
	w.SetTerminalWidth(s.columns()) // a line that wraps could not be taken back
	m.tracker = &progress.Tracker{Message: label, Total: total}
	w.AppendTracker(m.tracker)
	m.rendered.Go(w.Render)
	return m
}

// set shows the progress, with the number of events.
func (m *meter) set(done, events int64) {
	m.show(done, fmt.Sprintf("%s, %s", howMany(events, "event", "events"), rate(events, m.elapsed())))
}

// show shows the progress, with words.
func (m *meter) show(done int64, words string) {
	if m.tracker != nil {
		if m.total > 0 {
			// The last step is finish's: a tracker at its total stops itself.
			m.tracker.SetValue(min(done, m.total-1))
		}
		m.tracker.UpdateMessage(m.label + ": " + words)
		return
	}
	if time.Since(m.lastLine) < plainEvery {
		return
	}
	m.lastLine = time.Now()
	percent := ""
	if m.total > 0 {
		percent = fmt.Sprintf(", %d%%", done*100/m.total)
	}
	fmt.Fprintf(m.w, "%s: %s%s\n", m.label, words, percent)
}

// elapsed is the time since the work began.
func (m *meter) elapsed() time.Duration { return time.Since(m.started) }

// finish takes the bar away and returns when nothing writes any more. It may be called
// more than once, show no more after it.
func (m *meter) finish() {
	if m.tracker == nil {
		return
	}
	m.tracker.MarkAsDone()
	m.rendered.Wait()
	m.tracker = nil
	m.screen.clear() // of what was rendered last, a line that says "done"
}
