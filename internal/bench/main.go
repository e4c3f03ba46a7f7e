package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"

	"github.com/gyre-events/gyre/runtime"
)

// bench is the state of one run of the command.
type bench struct {
	ctx     context.Context
	dir     string  // for data, on the disk that is measured
	scale   float64 // of the amount of work
	results []Result
}

// group measures some names that share a preparation.
type group struct {
	name string
	run  func(*bench) error
}

var groups = []group{
	{"disk", benchDisk},
	{"streams/selected", benchSelected},
	{"streams/load", benchLoad},
	{"records", benchRecords},
	{"postgres", benchPostgres},
	{"ws", benchWS},
	{"access", benchAccess},
	{"subscription", benchSubscriptions},
	{"streams/list", benchStreamList},
	{"streams/backup", benchBackup},
	{"streams/scavenge", benchScavenge},
	{"growth", benchGrowth},
	{"cluster", benchCluster},
	{"plugin", benchPlugins},
	{"plugin/path", benchPath},
	{"plugin/path/dry-run", benchDryRuns},
	{"plugin/filters", benchFilters},
	{"plugin/fair", benchFair},
	{"plugin/bindings", benchBindings},
	{"plugin/validator", benchValidator},
	{"plugin/dev", benchDev},
}

func main() {
	runtime.TuneProcess() // there is a node in it, or it is one
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		os.Exit(runChild(os.Args[2:]))
	}
	if !runBench() {
		os.Exit(1)
	}
}

// runBench reports whether everything was measured and no bar is missed clearly.
func runBench() bool {
	out := flag.String("out", "", "write the results as JSON to `FILE`")
	run := flag.String("run", "", "measure only what matches `REGEXP`; a group is measured if its name does")
	scale := flag.Float64("scale", 1, "amount of work; below 1 the figures are for a quick look only")
	dir := flag.String("dir", "", "put data below `DIR`; by default beside the results")
	profile := flag.String("cpuprofile", "", "write a CPU profile to `FILE`")
	flag.Parse()
	if *profile != "" {
		stop, err := startProfile(*profile)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return false
		}
		defer stop()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := measure(ctx, *out, *run, *dir, *scale)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	return err == nil && ok
}

func startProfile(name string) (stop func(), err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

func measure(ctx context.Context, out, run, dir string, scale float64) (ok bool, err error) {
	only, err := regexp.Compile(run)
	if err != nil {
		return false, err
	}
	if dir == "" {
		dir = filepath.Dir(out)
	}
	b := &bench{ctx: ctx, scale: scale}
	for _, g := range groups {
		if !only.MatchString(g.name) {
			continue
		}
		if err := b.run(g, dir); err != nil {
			return false, fmt.Errorf("%s: %w", g.name, err)
		}
	}
	b.print(os.Stdout)
	if out != "" {
		if err := b.write(out); err != nil {
			return false, err
		}
	}
	return !slices.ContainsFunc(b.results, func(r Result) bool { return r.Verdict == misses }), nil
}

// run has a group measure in a directory of its own, which is gone when it is done: its
// files would take the page cache from the groups after it.
func (b *bench) run(g group, dir string) (err error) {
	if b.dir, err = os.MkdirTemp(dir, "bench-data-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	return g.run(b)
}

// progress tells on stderr what is being measured.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

func (b *bench) write(path string) error {
	text, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// n scales an amount of work.
func (b *bench) n(full int) int { return max(int(float64(full)*b.scale), 1) }
