package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onTerminal runs f with a terminal of 80 columns, and returns what was written to it.
func onTerminal(t *testing.T, f func(terminal *os.File)) string {
	t.Helper()
	return watchTerminal(t, f, func(string, io.Writer) {})
}

// watchTerminal is onTerminal that shows seen what is written until now, as it comes, and lets it
// type on the keyboard.
func watchTerminal(t *testing.T, f func(terminal *os.File), seen func(text string, keyboard io.Writer)) string {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	var written strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() {
		// It ends with EIO when the terminal is closed.
		_, _ = io.Copy(writerFunc(func(p []byte) (int, error) {
			written.Write(p)
			seen(written.String(), ptmx)
			return len(p), nil
		}), ptmx)
	})
	f(terminal)
	terminal.Close()
	reading.Wait()
	return written.String()
}

// shown is what a terminal shows after text, as far as a bar uses it.
func shown(text string) []string {
	lines := []string{""}
	at := 0
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b[A"):
			at, text = max(at-1, 0), text[3:]
		case strings.HasPrefix(text, "\x1b[K"):
			lines[at], text = "", text[3:]
		case text[0] == '\n':
			if at++; at == len(lines) {
				lines = append(lines, "")
			}
			text = text[1:]
		default:
			if text[0] != '\r' {
				lines[at] += text[:1]
			}
			text = text[1:]
		}
	}
	return lines
}

func TestBarKeepsToItsLine(t *testing.T) {
	text := onTerminal(t, func(terminal *os.File) {
		a := &app{stderr: screenOf(terminal)}
		m := a.newMeter("import of a file with a long name", 1000)
		for done := range int64(40) {
			m.set(done*25, done*25)
			time.Sleep(10 * time.Millisecond) // the bar is drawn every 100 ms
		}
		m.finish()
		m.finish()
		fmt.Fprintln(terminal, "1,000 events")
	})
	if lines := shown(text); len(lines) != 2 || lines[0] != "1,000 events" || strings.Count(text, "import of") < 3 {
		t.Errorf("the screen shows %q after %q", lines, text)
	}
}

func TestOpeningHasABar(t *testing.T) {
	text := onTerminal(t, func(terminal *os.File) {
		a := &app{stderr: screenOf(terminal)}
		o := a.newOpening(newLogger(a.stderr, slog.LevelInfo))
		o.show(1<<20, 8<<20) // too early to matter
		if o.bar != nil {
			t.Error("a bar at once")
		}
		o.began = o.began.Add(-noticeable)
		for done := int64(2 << 20); done <= 8<<20; done += 2 << 20 {
			o.show(done, 8<<20)
			time.Sleep(120 * time.Millisecond)
		}
		o.logger.Info("listening")
		o.finish()
	})
	if lines := shown(text); len(lines) != 2 || !strings.Contains(lines[0], "msg=listening") || !strings.Contains(text, "║ [") || !strings.Contains(text, "4.0 MiB") {
		t.Errorf("the screen shows %q after %q", lines, text)
	}
}
