package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/plugins"
)

// TestTerminalIsSafeFromPlugins prints what a hostile plugin answers and stores: nothing of it acts
// on a terminal, and a program gets all of it.
func TestTerminalIsSafeFromPlugins(t *testing.T) {
	for _, hostile := range []string{"a\x1b[2Jb\x07\r\nc", `"` + "\u009b2J\u202e" + `"`, "\x9b2Jb"} {
		prints := map[string]func(a *app) error{
			"answer": func(a *app) error { return a.printAnswer(&plugins.Answer{Value: []byte(hostile)}) },
			"entry":  func(a *app) error { return a.printEntry(plugins.Entry{Value: []byte(hostile)}) },
		}
		for name, print := range prints {
			text := onTerminal(t, func(terminal *os.File) {
				if err := print(&app{stdout: terminal}); err != nil {
					t.Error(err)
				}
			})
			lines := strings.ReplaceAll(text, "\r\n", "\n")
			if strings.ContainsAny(lines, "\x1b\x07\r\u009b\u202e") || strings.Contains(lines, "\x9b2") || !strings.HasSuffix(lines, "\n") {
				t.Errorf("%s %q on a terminal: %q", name, hostile, text)
			}
			var out bytes.Buffer
			if err := print(&app{stdout: &out}); err != nil || strings.TrimSuffix(out.String(), "\n") != hostile {
				t.Errorf("%s %q for a program: %q, %v", name, hostile, out.String(), err)
			}
		}
	}
}
