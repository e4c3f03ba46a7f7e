//go:build !race

// Compiling the Go runtime takes a minute with the race detector.

package conformance

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/wasm"
	"github.com/gyre-events/gyre/plugins/wasm/wasmtest"
)

var update = flag.Bool("update", false, "write what the guest in Go does as what is wanted")

// casesFile has the cases, by the function that they call.
const casesFile = "cases.json"

// cases are those of a file, by entry.
type cases map[string][]*conformanceCase

// conformanceCase is a batch, and what a guest does with it.
type conformanceCase struct {
	Name   string   `json:"name"`
	Host   hosted   `json:"host,omitzero"`
	Events []event  `json:"events,omitempty"`
	Query  []string `json:"query,omitempty"` // lines of a query, instead of events
	// Later says that the batch is of a later version, which has more fields than a guest knows.
	Later bool   `json:"later,omitempty"`
	Want  effect `json:"want"`
}

// effect is what a guest did.
type effect struct {
	Verdict abi.Verdict `json:"verdict"`
	// Failed is the index of the event that is not done, because the guest broke with it: it ended
	// the call, or returned a negative verdict, or asked to retry or park the event. How is a matter
	// of the language.
	Failed *int `json:"failed,omitempty"`

	Results  map[int]result     `json:"results,omitempty"`
	Appended []appended         `json:"appended,omitempty"`
	Writes   []write            `json:"writes,omitempty"`
	Logs     []string           `json:"logs,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
}

type result struct {
	Action  abi.Action `json:"action"`
	DelayMs uint32     `json:"delayMs,omitempty"`
	Text    string     `json:"text,omitempty"`
}

type appended struct {
	Event    int    `json:"event"`
	Stream   string `json:"stream"`
	Expected int64  `json:"expected"`
	Type     string `json:"type"`
	Data     string `json:"data"`
	Metadata string `json:"metadata,omitempty"`
	Binary   bool   `json:"binary,omitempty"`
}

type write struct {
	Event   int    `json:"event"`
	Key     string `json:"key"`
	Value   string `json:"value,omitempty"` // by its length, if it is long
	Deleted bool   `json:"deleted,omitempty"`
}

func readCases(t *testing.T) cases {
	t.Helper()
	text, err := os.ReadFile(casesFile)
	if err != nil {
		t.Fatal(err)
	}
	var c cases
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMain(m *testing.M) { wasmtest.Main(m) }

// compile makes native code of a module, as a node does.
func compile(t *testing.T, module []byte) *wasm.Code {
	t.Helper()
	m, err := wasm.Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CheckABI(abi.Handle); err != nil {
		t.Fatal(err)
	}
	return wasmtest.Compile(t, m)
}

// Every SDK passes the kit, and so does a guest in another language, whose module is the file
// that GYRE_CONFORMANCE_GUEST names.
func TestGuests(t *testing.T) {
	all := readCases(t)
	for _, g := range guests() {
		t.Run(g.language, func(t *testing.T) {
			module := g.build(t)
			code := compile(t, module)
			t.Logf("the module has %d bytes", len(module))
			for _, entry := range []string{abi.Handle, abi.Filter, abi.Map, abi.Part, abi.Validate, abi.Query} {
				t.Run(entry, func(t *testing.T) { pass(t, code, entry, all[entry], *update && g.language == "go") })
			}
		})
	}
	if *update && !t.Failed() {
		text, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(casesFile, append(text, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// pass runs cases, each in an instance of its own.
func pass(t *testing.T, code *wasm.Code, entry string, list []*conformanceCase, learn bool) {
	program, err := wasm.NewHost(wasm.DefaultMemory).Load(t.Context(), code, entry)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if len(list) == 0 {
		t.Error("there are no cases")
	}
	for _, c := range list {
		t.Run(c.Name, func(t *testing.T) {
			got := run(t, program, c)
			if learn {
				c.learn(got)
			}
			if failed := c.Want.Failed; failed != nil {
				checkFailed(t, got, c.Want)
				return
			}
			if want := c.Want; !reflect.DeepEqual(got, want) {
				t.Errorf("the guest did\n%s\nit has to do\n%s", indented(got), indented(want))
			}
		})
	}
}

// checkFailed checks that the guest is done with the events before the one that fails, and not with it.
func checkFailed(t *testing.T, got, want effect) {
	failed := *want.Failed
	r, decided := got.Results[failed]
	isUndone := got.Verdict != abi.Done || decided && (r.Action == abi.Retry || r.Action == abi.Park)
	if !isUndone {
		t.Errorf("event %d is done: verdict %d, results %v", failed, got.Verdict, got.Results)
	}
	if kept := got.before(failed); !slices.Equal(kept, want.Writes) {
		t.Errorf("writes before event %d are %v, want %v", failed, kept, want.Writes)
	}
}

// before returns the writes of the events before one.
func (e *effect) before(event int) []write {
	return slices.DeleteFunc(slices.Clone(e.Writes), func(w write) bool { return w.Event >= event })
}

// learn makes what a guest did what is wanted.
func (c *conformanceCase) learn(got effect) {
	if failed := c.Want.Failed; failed != nil {
		got = effect{Failed: failed, Writes: got.before(*failed)}
	}
	c.Want = got
}

func indented(v any) string {
	text, _ := json.MarshalIndent(v, "", " ") // it is a struct of plain values
	return string(text)
}
