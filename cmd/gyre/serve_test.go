package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOpeningIsLogged opens a log of 100 segments, one each 200 ms.
func TestOpeningIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stderr bytes.Buffer
		a := &app{stderr: &stderr}
		o := a.newOpening(newLogger(&stderr, slog.LevelInfo))
		for done := range int64(100) {
			time.Sleep(200 * time.Millisecond)
			o.show((done+1)*64e6, 6400e6)
			if quiet := done < 24; quiet && stderr.Len() > 0 {
				t.Fatalf("after %d segments: %s", done+1, &stderr)
			}
		}
		o.finish()
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], `"msg":"opening the log","doneBytes":1600000000,"totalBytes":6400000000`) {
			t.Errorf("logged %s", &stderr)
		}
	})
}
