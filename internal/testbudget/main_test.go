package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// What `go test` prints, one kind of line each.
const output = "ok  \tgithub.com/gyre-events/gyre/core\t100.500s\n" +
	"ok  \tgithub.com/gyre-events/gyre/core/disk\t80.000s\tcoverage: 81.0% of statements\n" +
	"ok  \tgithub.com/gyre-events/gyre/core/postgres\t60.000s\n" +
	"ok  \tgithub.com/gyre-events/gyre/core/postgres/deeper\t1.000s\n" +
	"ok  \tgithub.com/gyre-events/gyre/sdk\t(cached)\n" +
	"?   \tgithub.com/gyre-events/gyre/cmd/gyre\t[no test files]\n" +
	"--- FAIL: TestX (9.00s)\n" +
	"FAIL\n" +
	"FAIL\tgithub.com/gyre-events/gyre/wsapi\t2.000s\n" +
	"FAIL\tgithub.com/gyre-events/gyre/runtime [build failed]\n" +
	"ok  \texample.com/other\t7.000s\n" +
	"FAIL"

func TestOutputIsCopiedAndAddedUp(t *testing.T) {
	var copied bytes.Buffer
	spent, err := copyResults(&copied, strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	if copied.String() != output {
		t.Errorf("the copy differs:\n%s", copied.String())
	}
	want := map[string]time.Duration{
		"core": 180500 * time.Millisecond, "core/postgres": 61 * time.Second, "sdk": 0, "wsapi": 2 * time.Second,
	}
	if len(spent) != len(want) {
		t.Errorf("spent = %v, want %v", spent, want)
	}
	for g, took := range want {
		if got, ok := spent[g]; !ok || got != took {
			t.Errorf("spent[%q] = %v (%v), want %v", g, got, ok, took)
		}
	}
}

func TestReportMarksWhatIsOver(t *testing.T) {
	var table bytes.Buffer
	report(&table, map[string]time.Duration{
		"core":  3*time.Minute + time.Second,
		"sdk":   defaultBudget,
		"wsapi": defaultBudget + time.Second,
	})
	for line := range strings.Lines(table.String()) {
		want := strings.HasPrefix(line, "core/...") || strings.HasPrefix(line, "wsapi/...")
		if got := strings.HasSuffix(line, " over\n"); got != want {
			t.Errorf("%q: marked %v, want %v", line, got, want)
		}
	}
}

func TestRunFailsWithItsTests(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"./no/such/folder"}, &out); err == nil {
		t.Error("no error, though go test failed")
	}
}
