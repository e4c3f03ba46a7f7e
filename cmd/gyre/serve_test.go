package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gyre-events/gyre/core"
)

// TestServeRefusesEmptySettings: on the command line, in a file and, where it can be told from
// none, in the environment.
func TestServeRefusesEmptySettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gyre.yaml")
	for _, c := range []struct {
		name, file, env string
		args            []string
	}{
		{name: "node", args: []string{"--node", ""}},
		{name: "cluster-name", args: []string{"--cluster-name="}},
		{name: "quorum", args: []string{"--quorum", "0"}},
		{name: "quorum", env: "0"},
		{name: "quorum", file: "quorum: 0"},
		{name: "node", file: `node: ""`},
		{name: "peers-file", args: []string{"--peers-file="}},
		{name: "peers-exec", file: `peers-exec: ""`},
	} {
		if err := os.WriteFile(file, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		a := &app{getenv: func(name string) string {
			if name == envName(c.name) {
				return c.env
			}
			return ""
		}}
		var f serveFlags
		cmd := newServe(a)
		if err := cmd.ParseFlags(append(c.args, "--config", file)); err != nil {
			t.Fatal(err)
		}
		if err := f.settle(a, cmd); !errors.Is(err, core.CodeInvalidConfig) || !strings.Contains(err.Error(), "--"+c.name+" is ") {
			t.Errorf("%+v: %v", c, err)
		} else if advice := (*advised)(nil); !errors.As(err, &advice) || !strings.Contains(advice.try, "--"+c.name+" ") {
			t.Errorf("%+v: the advice is %+v", c, advice)
		}
	}
}

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

func TestTheSavedKeyStaysPrivate(t *testing.T) {
	for url, want := range map[string]bool{
		"http://127.0.0.1:4973": true, ":4973": true, "localhost:4973": true, "http://[::1]:4973/": true, "https://db.example": true,
		"http://10.0.0.1:4973": false, "db.example:4973": false, "ws://db.example": false, "http://localhost.example:4973": false,
		"https://a.example,http://b.example": false, "https://a.example,127.0.0.1:1": true, "http://127.0.0.1.example": false,
	} {
		if isPrivate(url) != want {
			t.Errorf("%s: %v", url, !want)
		}
	}
}
