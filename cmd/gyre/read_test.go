package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

func TestReadSelects(t *testing.T) {
	node, err := runtime.Start(t.Context(), runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(t.Context())
	for i := range 6 {
		c := core.Commit{Appends: []core.Append{{Stream: fmt.Sprintf("%c-%d", 'a'+i%2, i), Expect: core.AnyVersion, Events: []core.NewEvent{{
			Type: fmt.Sprint("T", i%3), Time: time.Date(2022, 1, 1+i, 0, 0, 0, 0, time.UTC), Data: []byte("{}"), Metadata: fmt.Appendf(nil, `{"correlation_id":"c%d"}`, i%2),
		}}}}}
		if _, err := node.Store().Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]string{
		"read":                                                  "a-0 b-1 a-2 b-3 a-4 b-5",
		"read --category b":                                     "b-1 b-3 b-5",
		"read --category a --backward":                          "a-4 a-2 a-0",
		"read --types T0,T1 --streams a-*":                      "a-0 a-4",
		"read --since 2022-01-03":                               "a-2 b-3 a-4 b-5",
		"read --until 2022-01-03T00:00:00+01:00":                "a-0 b-1",
		"read --correlation c1 --types T0":                      "b-3",
		"read a-4 --category a":                                 "a-4",
		"read --from 2020-01-01T00:00:00Z":                      "a-0 b-1 a-2 b-3 a-4 b-5",
		"read --from 2999-01-01T00:00:00Z --backward --limit 1": "b-5",
		"read --from 2020-01-01T00:00:00Z --backward":           "",
	} {
		out, _ := mustRun(t, append(strings.Fields(args), "--server", node.URL(), "-o", "ndjson")...)
		if got := strings.Join(streamsIn(out), " "); got != want {
			t.Errorf("gyre %s: %s, want %s", args, got, want)
		}
	}
	_, said := mustRun(t, "read", "--category", "a", "--types", "T*", "--since", "2022-01-01", "--limit", "2", "--backward", "--server", node.URL())
	if want := "There are more: gyre read '$all' --from 1 --backward --category a --types 'T*' --since 2022-01-01\n"; said != want {
		t.Errorf("says %q, want %q", said, want)
	}
	for _, args := range []string{
		"--category a-1", "--since soon", "--since 2022-01-02 --until 2022-01-01", "--from soon", "--since 0001-01-01", "--from 0001-01-01T00:00:00Z",
		"--category=", "--types=", "--streams=", "--since=", "--until=", "--correlation=", "--from=", "--snapshot=",
	} {
		cmd := exec.Command("gyre", append([]string{"read", "--server", node.URL()}, strings.Fields(args)...)...)
		said, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(said), "Try: ") {
			t.Errorf("gyre read %s: %s, %s", args, cmd.ProcessState, said)
		}
	}
}
