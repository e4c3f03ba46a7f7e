package main

import (
	"bytes"
	"slices"
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

func TestReportNamesWhatIsOver(t *testing.T) {
	var table bytes.Buffer
	over := report(&table, map[string]time.Duration{
		"core":  3*time.Minute + time.Second,
		"sdk":   defaultBudget,
		"wsapi": defaultBudget + time.Second,
	})
	if want := []string{"core", "wsapi"}; !slices.Equal(over, want) {
		t.Errorf("over = %v, want %v", over, want)
	}
	if got := strings.Count(table.String(), "OVER"); got != 2 {
		t.Errorf("the table marks %d groups, want 2:\n%s", got, table.String())
	}
}
