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
	"text/tabwriter"

	"github.com/gyre-events/gyre/runtime"
)

// Result is one line of the table.
type Result struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit"`
	Floor *float64 `json:"floor"` // in the same unit; null where there is none
	Ratio *float64 `json:"ratio"` // value to floor; null where there is none
	Bar   *float64 `json:"bar"`   // of ratio, or of value where there is no floor
	Holds bool     `json:"holds"`
	Note  string   `json:"note,omitempty"`
}

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
	{"postgres", benchPostgres},
	{"ws", benchWS},
	{"subscription", benchSubscriptions},
	{"growth", benchGrowth},
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

// runBench reports whether everything was measured and every bar holds.
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
	holds, err := measure(ctx, *out, *run, *dir, *scale)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	return err == nil && holds
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

func measure(ctx context.Context, out, run, dir string, scale float64) (holds bool, err error) {
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
	b.print()
	if out != "" {
		if err := b.write(out); err != nil {
			return false, err
		}
	}
	return !slices.ContainsFunc(b.results, func(r Result) bool { return !r.Holds }), nil
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

// add records a result and says it at once.
func (b *bench) add(r Result) {
	b.results = append(b.results, r)
	b.progress("%s: %s", r.Name, r.line())
}

// atLeast records a rate whose ratio to its floor must reach bar; 0 = no bar.
func (b *bench) atLeast(name, unit string, p paired, bar float64) {
	r := Result{Name: name, Value: p.value(), Unit: unit, Holds: true, Note: p.note}
	floor, ratio := p.floor(), p.ratio()
	r.Floor, r.Ratio = &floor, &ratio
	if bar > 0 {
		r.Bar, r.Holds = &bar, ratio >= bar
	}
	b.add(r)
}

// atMostTimes records a value, of which less is better, whose ratio to its floor
// must not pass bar.
func (b *bench) atMostTimes(name, unit string, p paired, bar float64) {
	floor, ratio := p.floor(), p.ratio()
	b.add(Result{Name: name, Value: p.value(), Unit: unit, Floor: &floor, Ratio: &ratio, Bar: &bar, Holds: ratio <= bar, Note: p.note})
}

// atMost records a value that must not pass bar.
func (b *bench) atMost(name, unit string, value, bar float64, note string) {
	b.add(Result{Name: name, Value: value, Unit: unit, Bar: &bar, Holds: value <= bar, Note: note})
}

func (r Result) line() string {
	s := fmt.Sprintf("%.4g %s", r.Value, r.Unit)
	if r.Floor != nil {
		s += fmt.Sprintf(", floor %.4g, ratio %.2f", *r.Floor, *r.Ratio)
	}
	if r.Bar != nil {
		s += fmt.Sprintf(", bar %.4g", *r.Bar)
	}
	if !r.Holds {
		s += " — does not hold"
	}
	return s
}

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "name\tvalue\tunit\tfloor\tratio\tbar\tholds\t")
	optional := func(v *float64) string {
		if v == nil {
			return "–"
		}
		return fmt.Sprintf("%.4g", *v)
	}
	for _, r := range b.results {
		_, _ = fmt.Fprintf(w, "%s\t%.4g\t%s\t%s\t%s\t%s\t%v\t\n", r.Name, r.Value, r.Unit, optional(r.Floor), optional(r.Ratio), optional(r.Bar), r.Holds)
	}
	_ = w.Flush()
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
