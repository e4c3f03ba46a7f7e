package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
)

// TestImportInterrupted stops an import in the middle with SIGINT and runs it again.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := importLines(2*batchEvents + 500)
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--data", filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.cmd.Process.Kill() })

	first := exec.Command("gyre", "import", "-", "--server", node.url)
	var stderr bytes.Buffer
	first.Stderr = &stderr
	stdin, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, strings.Join(lines, "")); err != nil {
		t.Fatal(err)
	}
	// The import waits for more: two batches are written, the third is not full.
	mustRun(t, "tail", "--from", "start", "--limit", strconv.Itoa(2*batchEvents), "--server", node.url)
	if err := first.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	if code := first.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	for _, want := range []string{"2,000 events written, 0 skipped", "Run the same command again", "Interrupted."} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in %s", want, &stderr)
		}
	}

	file := filepath.Join(dir, "events.ndjson")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, words := mustRun(t, "import", file, "--server", node.url)
	if !strings.Contains(words, "500 events written, 2,000 skipped") {
		t.Errorf("the second import says %s", words)
	}
	checkExport(t, node.url, lines)
	if code, err := node.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

// TestImportIntoMixture imports where every other event is there already. What is known of a
// batch costs one refusal, and a batch of which all is known, though in another order, no more.
func TestImportIntoMixture(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lines := importLines(4 * batchEvents)
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--data", filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	var half []string
	for i := 0; i < len(lines); i += 2 {
		half = append(half, lines[i])
	}
	for _, step := range []struct {
		lines            []string
		want             string
		written, refused float64 // appends, so far
	}{
		{half, "2,000 events written, 0 skipped", 2, 0},
		{lines, "2,000 events written, 2,000 skipped", 6, 4},
		{lines, "0 events written, 4,000 skipped", 6, 8},
	} {
		file := filepath.Join(dir, "events.ndjson")
		if err := os.WriteFile(file, []byte(strings.Join(step.lines, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, words := mustRun(t, "import", file, "--server", node.url); !strings.Contains(words, step.want) {
			t.Errorf("want %q: %s", step.want, words)
		}
		written := metric(t, node, `gyre_append_duration_seconds_count\{result="ok"\}`)
		refused := metric(t, node, "gyre_append_conflicts_total")
		if written != step.written || refused != step.refused {
			t.Errorf("%s: %v appends written and %v refused so far, want %v and %v", step.want, written, refused, step.written, step.refused)
		}
	}
	// Those that were there stay, and the others follow in the order of the file.
	order := half
	for i := 1; i < len(lines); i += 2 {
		order = append(order, lines[i])
	}
	checkExport(t, node.url, order)
}

// TestImportTwiceInOneBatch: an id that a batch has twice is written once, where it is first.
// One that another stream has is refused with its line.
func TestImportTwiceInOneBatch(t *testing.T) {
	lines := importLines(100)
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	twice := slices.Concat(lines[:70], lines[60:])
	if said, err := importTo(t.Context(), store, strings.Join(twice, "")); err != nil || !strings.Contains(said, "100 events written, 10 skipped") {
		t.Errorf("%v: %s", err, said)
	}
	more := importLines(100)
	more[40] = strings.Replace(lines[3], `"s-1"`, `"elsewhere"`, 1)
	_, err := importTo(t.Context(), store, strings.Join(slices.Concat(lines, more), ""))
	var at *lineError
	if !errors.Is(err, core.CodeDuplicateEvent) || !errors.As(err, &at) || at.line != 141 {
		t.Errorf("an id of another stream: %v", err)
	}
}

// TestSampleComesBack imports the sample of the examples and compares each event of
// the export with its line.
func TestSampleComesBack(t *testing.T) {
	t.Parallel()
	const sample = "../../examples/temporal-sample.ndjson"
	dir := t.TempDir()
	node, err := serve(dir, os.Environ(), filepath.Join(dir, "node.log"), "--data", filepath.Join(dir, "data"), "--segment-bytes", "65536")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = node.end(syscall.SIGKILL) })
	if _, words := mustRun(t, "import", sample, "--server", node.url); !strings.Contains(words, "2,000 events written") {
		t.Errorf("the import says %s", words)
	}
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	out, _ := mustRun(t, "export", "--server", node.url)
	got := strings.Split(strings.TrimSpace(out), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i := range want {
		exported := canonical(t, got[i])
		for member, value := range canonical(t, want[i]) {
			if string(exported[member]) != string(value) {
				t.Fatalf("line %d: %s is %s, want %s", i+1, member, exported[member], value)
			}
		}
	}
	// Once more, it is all there.
	if _, words := mustRun(t, "import", sample, "--server", node.url); !strings.Contains(words, "0 events written, 2,000 skipped") {
		t.Errorf("the second import says %s", words)
	}
}

// importTo imports, and answers what it says.
func importTo(ctx context.Context, log core.Log, text string) (string, error) {
	var said strings.Builder
	a := &app{stdin: strings.NewReader(text), stderr: &said, timeout: defaultTimeout}
	in, err := a.openLines("-")
	if err != nil {
		return "", err
	}
	err = a.importLines(ctx, log, in)
	return said.String(), err
}

// canonical are the members of an object, each as RFC 8785 writes it.
func canonical(t *testing.T, line string) map[string]jsontext.Value {
	t.Helper()
	var members map[string]jsontext.Value
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		t.Fatal(err)
	}
	for name, v := range members {
		if err := v.Canonicalize(); err != nil {
			t.Fatal(err)
		}
		members[name] = v
	}
	return members
}

// importLines makes lines that change streams now and then, as real ones do.
func importLines(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"stream":"s-%d","id":"%s","type":"T","time":"2020-01-02T03:04:05Z","data":{"n":%d}}`+"\n", i/3%7, core.NewID(), i)
	}
	return lines
}

// checkExport checks that the export has the lines in their order.
func checkExport(t *testing.T, url string, lines []string) {
	t.Helper()
	out, _ := mustRun(t, "export", "--server", url)
	got := strings.SplitAfter(out, "\n")
	if len(got) != len(lines)+1 {
		t.Fatalf("%d events, want %d", len(got)-1, len(lines))
	}
	for i, line := range lines {
		data := line[strings.Index(line, `"data":`):strings.LastIndex(line, "}")]
		stream := line[:strings.IndexByte(line, ',')]
		if !strings.HasPrefix(got[i], stream) || !strings.Contains(got[i], data) || !strings.Contains(got[i], fmt.Sprintf(`"position":%d,`, i+1)) {
			t.Fatalf("line %d is %swant %s", i+1, got[i], line)
		}
	}
}

// mustRun runs gyre, which is to exit with 0.
func mustRun(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, words bytes.Buffer
	cmd := exec.Command("gyre", args...)
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		t.Fatalf("gyre %s: %v: %s", strings.Join(args, " "), err, &words)
	}
	return out.String(), words.String()
}
