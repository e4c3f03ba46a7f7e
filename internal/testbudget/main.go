// Command testbudget runs `go test` and shows how long its packages took beside a time
// budget.
//
//	go run ./internal/testbudget -race -timeout 20m ./...
//
// Arguments, output and exit status are those of `go test`, which runs more at once than it
// would by itself (atOnce), unless arguments say otherwise. A table follows the output:
// the seconds that each group of packages took, and the seconds of its budget. A group
// over its budget is marked and fails nothing: how fast a machine is decides no test.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

const modulePath = "github.com/gyre-events/gyre"

// budgets are the times that a folder's packages should take together, with the race
// detector, on two cores. A folder's budget does not count the folders below it that
// have their own. Every other top-level folder has defaultBudget.
var budgets = map[string]time.Duration{
	"core":               3 * time.Minute,
	"core/delivery":      time.Minute,
	"core/postgres":      3 * time.Minute,
	"core/subscriptions": 2 * time.Minute, // crowds over two engines
	"cmd":                3 * time.Minute, // real processes, killed over real disks and databases
	"sdk":                2 * time.Minute, // the suite for Logs in two encodings, and a server that comes and goes
}

const defaultBudget = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbudget:", err)
		os.Exit(1)
	}
}

// run runs `go test args...`, copies its output to w as it comes, and appends the
// table. It returns an error when the tests failed.
func run(ctx context.Context, args []string, w io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"test"}, atOnce(runtime.GOMAXPROCS(0)), args)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	spent, copyErr := copyResults(w, out)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	if copyErr != nil {
		return fmt.Errorf("copy output: %w", copyErr)
	}
	report(w, spent)
	return nil
}

// atOnce are the arguments that use all of so many processors: packages, and tests that may
// run beside each other, wait half of the time, for disks, timers and processes.
func atOnce(processors int) []string {
	return []string{fmt.Sprint("-p=", (3*processors+1)/2), fmt.Sprint("-parallel=", 2*processors)}
}

// copyResults copies the output of `go test` line by line and adds up, for each
// group, what its packages took.
func copyResults(w io.Writer, r io.Reader) (map[string]time.Duration, error) {
	spent := make(map[string]time.Duration)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if pkg, took, ok := parseResult(line); ok {
			spent[group(pkg)] += took
		}
		if _, err := io.WriteString(w, line); err != nil {
			return spent, err
		}
		if err == io.EOF {
			return spent, nil
		}
		if err != nil {
			return spent, err
		}
	}
}

// parseResult reads a package's closing line, "ok  \tpackage\t1.234s" or the same
// with FAIL. A result from the cache took no time.
func parseResult(line string) (pkg string, took time.Duration, ok bool) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	if len(fields) < 3 || (strings.TrimSpace(fields[0]) != "ok" && fields[0] != "FAIL") {
		return "", 0, false
	}
	pkg, ok = strings.CutPrefix(fields[1], modulePath+"/")
	if !ok {
		return "", 0, false
	}
	if fields[2] == "(cached)" {
		return pkg, 0, true
	}
	took, err := time.ParseDuration(fields[2])
	return pkg, took, err == nil
}

// group is the folder that a package is counted in: the nearest that has a budget,
// or else the top-level one.
func group(pkg string) string {
	for folder := pkg; ; folder = path.Dir(folder) {
		if _, ok := budgets[folder]; ok || !strings.Contains(folder, "/") {
			return folder
		}
	}
}

// report prints the table.
func report(w io.Writer, spent map[string]time.Duration) {
	fmt.Fprintf(w, "\n%-20s %10s %10s\n", "time budget", "took", "budget")
	for _, g := range slices.Sorted(maps.Keys(spent)) {
		limit, ok := budgets[g]
		if !ok {
			limit = defaultBudget
		}
		verdict := ""
		if spent[g] > limit {
			verdict = "  over"
		}
		fmt.Fprintf(w, "%-20s %9.1fs %9.0fs%s\n", g+"/...", spent[g].Seconds(), limit.Seconds(), verdict)
	}
}
