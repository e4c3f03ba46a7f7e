package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestReadme runs the sessions of README.md, one after another.
func TestReadme(t *testing.T) { runPage(t, "../../README.md", 10) }

// TestProgressDocs runs the session of docs/progress.md.
func TestProgressDocs(t *testing.T) { runPage(t, "../../docs/progress.md", 7) }

// TestSnapshotDocs runs the session of docs/snapshots.md.
func TestSnapshotDocs(t *testing.T) { runPage(t, "../../docs/snapshots.md", 9) }

// TestRetentionDocs runs the session of docs/retention.md.
func TestRetentionDocs(t *testing.T) { runPage(t, "../../docs/retention.md", 11) }

// TestDeletingDocs runs the session of docs/deleting.md.
func TestDeletingDocs(t *testing.T) { runPage(t, "../../docs/deleting.md", 12, "--hard-deletes") }

// TestReadingDocs runs the session of docs/reading.md.
func TestReadingDocs(t *testing.T) { runPage(t, "../../docs/reading.md", 9) }

// TestBackupDocs runs the session of docs/backup.md.
func TestBackupDocs(t *testing.T) { runPage(t, "../../docs/backup.md", 8) }

// TestScavengingDocs runs the session of docs/scavenging.md.
func TestScavengingDocs(t *testing.T) { runPage(t, "../../docs/scavenging.md", 9, "--hard-deletes") }

// runPage runs the session of a page, which has so many commands, in a folder of its own, beside an
// empty node with flags.
func runPage(t *testing.T, page string, commands int, flags ...string) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), append([]string{"--data", "data"}, flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	if ran := runSession(t, node, dir, page); ran != commands {
		t.Errorf("the session has %d commands", ran)
	}
}

// progressLines are what commands print where they take long: on a busy machine.
var progressLines = regexp.MustCompile(`(?m)^[a-z ]+: .*( of [\d.]+ [KMGT]?i?B|, \d+%)\n`)

// runSession runs the session of a document in a folder, compares what it prints, and returns how
// many commands it has.
func runSession(t *testing.T, node *process, dir, document string) (ran int) {
	t.Helper()
	for _, step := range session(t, document) {
		var got string
		switch {
		case strings.HasPrefix(step.command, "bin/gyre tail") && !strings.Contains(step.command, "--limit"):
			continue // it has no end
		case strings.HasPrefix(step.command, "bin/gyre "):
			cmd := exec.Command("sh", "-c", strings.TrimPrefix(step.command, "bin/"))
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GYRE_SERVER="+node.url)
			out, _ := cmd.CombinedOutput() // some are refused, as the text shows
			got = progressLines.ReplaceAllString(string(out), "")
		case strings.HasPrefix(step.command, "curl "):
			got = fetch(t, node.url+strings.Trim(strings.TrimPrefix(step.command, "curl -s 'localhost:4973"), "'"))
		default:
			t.Errorf("what is %q?", step.command)
		}
		ran++
		if !matches(step.output, got) {
			t.Errorf("$ %s\nprints\n%s\n%s says\n%s", step.command, got, document, step.output)
		}
	}
	return ran
}

// step is a command of the session with what it prints.
type step struct{ command, output string }

// session returns the steps that a document shows.
func session(t *testing.T, document string) []step {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var steps []step
	for _, after := range strings.Split(string(text), "```console\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		for _, line := range strings.SplitAfter(block, "\n") {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: strings.TrimSpace(command)})
			} else if len(steps) > 0 {
				steps[len(steps)-1].output += line
			}
		}
	}
	return steps
}

// matches compares but for times, and for what the text leaves out with "…".
func matches(want, got string) bool {
	times := regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z`)
	spaces := regexp.MustCompile(` +`)
	plain := func(s string) string {
		return spaces.ReplaceAllString(times.ReplaceAllString(strings.TrimSpace(s), "TIME"), " ")
	}
	pattern := strings.ReplaceAll(regexp.QuoteMeta(plain(want)), "…", ".*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(plain(got))
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
