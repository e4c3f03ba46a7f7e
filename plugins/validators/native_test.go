package validators_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/validators"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// judge is a validator in Go: it returns why it refuses an event, "" if it does not.
type judge func(ctx context.Context, c *plugins.Connection, e *abi.Event) (refusal string, err error)

// library is a validators.Code of validators in Go, by plugin@version.
type library struct {
	mu       sync.Mutex // protects the fields below
	versions map[string]plugins.Version
	judges   map[string]judge
	broken   map[string]error // versions that do not load
	loading  func() error     // is called by each Load, and may have it fail; nil does nothing

	open atomic.Int64 // programs and instances
}

// newLibrary returns a library of which nothing is in use when the test ends.
func newLibrary(t *testing.T) *library {
	l := &library{versions: map[string]plugins.Version{}, judges: map[string]judge{}, broken: map[string]error{}}
	t.Cleanup(func() {
		if n := l.open.Load(); n != 0 {
			t.Errorf("%d programs and instances are left", n)
		}
	})
	return l
}

// add uploads a version, so to speak.
func (l *library) add(plugin, version string, j judge) {
	l.addOf(plugin, version, plugins.KindValidate, j)
}

func (l *library) addOf(plugin, version string, kind plugins.Kind, j judge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := sha256.Sum256([]byte(plugin + "@" + version))
	l.versions[plugin+"@"+version] = plugins.Version{
		Plugin: plugin, Version: version, SHA256: hex.EncodeToString(sum[:]), Manifest: plugins.Manifest{Name: plugin, Version: version, Kind: kind},
	}
	l.judges[plugin+"@"+version] = j
}

func (l *library) breakVersion(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken[name] = err
}

func (l *library) onLoad(do func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loading = do
}

// Version is validators.Code.Version.
func (l *library) Version(_ context.Context, plugin, version string) (plugins.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.versions[plugin+"@"+version]
	if !ok {
		return v, core.Errorf(core.CodeVersionNotFound, "plugin %q has no version %q", plugin, version)
	}
	return v, nil
}

// CheckConfig is validators.Code.CheckConfig.
func (*library) CheckConfig(_ *plugins.Version, config []byte) error {
	if string(config) == `{"bad":true}` {
		return core.Errorf(core.CodeInvalidPluginConfig, "it is bad")
	}
	return nil
}

// Hold is validators.Code.Hold.
func (*library) Hold(v *plugins.Version) (core.RecordOp, error) {
	return core.RecordOp{Table: "plugin_versions", Key: v.Plugin + " " + v.Version, Expect: core.AnyVersion}, nil
}

// Load is validators.Code.Load.
func (l *library) Load(_ context.Context, v plugins.Version) (plugins.Program, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.broken[v.Plugin+"@"+v.Version]; err != nil {
		return nil, err
	}
	if l.loading != nil {
		if err := l.loading(); err != nil {
			return nil, err
		}
	}
	l.open.Add(1)
	return &program{l, l.judges[v.Plugin+"@"+v.Version]}, nil
}

type program struct {
	library *library
	judge   judge
}

// New is plugins.Program.New.
func (p *program) New(_ context.Context, c plugins.Connection) (plugins.Handler, error) {
	p.library.open.Add(1)
	return &instance{program: p, connection: c}, nil
}

// Close is plugins.Program.Close.
func (p *program) Close() error {
	p.library.open.Add(-1)
	return nil
}

type instance struct {
	program    *program
	connection plugins.Connection
	closed     bool
	busy       atomic.Bool
}

// Handle is plugins.Handler.Handle.
func (in *instance) Handle(ctx context.Context, batch []byte) (abi.Verdict, int64, error) {
	if in.closed || !in.busy.CompareAndSwap(false, true) {
		panic("an instance is used after its end, or twice at a time")
	}
	defer in.busy.Store(false)
	b, err := abi.OpenBatch(batch)
	if err != nil {
		return 0, 0, err
	}
	var e abi.Event
	for i := 0; ; i++ {
		ok, err := b.Next(&e)
		if err != nil || !ok {
			return abi.Done, 1, err
		}
		refusal, err := in.program.judge(ctx, &in.connection, &e)
		if err != nil {
			return 0, 1, err
		}
		if refusal != "" {
			if e := in.connection.Effects.Result(i, abi.Park, 0, []byte(refusal)); e != abi.OK {
				return 0, 1, e
			}
		}
	}
}

// MemoryBytes is plugins.Handler.MemoryBytes.
func (*instance) MemoryBytes() int64 { return 0 }

// Close is plugins.Handler.Close.
func (in *instance) Close() {
	if !in.closed {
		in.closed = true
		in.program.library.open.Add(-1)
	}
}

// loop uses up the time that a Commit has.
func loop(ctx context.Context, c *plugins.Connection, _ *abi.Event) (string, error) {
	select {
	case <-time.After(c.Limits.Time()):
		return "", &plugins.Failure{Reason: "timed out"}
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func trap(context.Context, *plugins.Connection, *abi.Event) (string, error) {
	return "", &plugins.Failure{Reason: "crashed", Detail: "unreachable"}
}

func accept(context.Context, *plugins.Connection, *abi.Event) (string, error) { return "", nil }

// refuse refuses every event with a text.
func refuse(text string) judge {
	return func(context.Context, *plugins.Connection, *abi.Event) (string, error) { return text, nil }
}

// node is a Store whose appends are judged.
type node struct {
	*validators.Validators
	t     *testing.T
	store *core.Store
	lines *lines

	mu   sync.Mutex // protects the field below
	gone []string   // the logs that were deleted
}

// ended is validators.Config.Ended.
func (n *node) ended(_ context.Context, binding string, deleted uint64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if what := fmt.Sprint(binding, " ", deleted); deleted > 0 && !slices.Contains(n.gone, what) {
		n.gone = append(n.gone, what)
	}
	return nil
}

func (n *node) deleted() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.gone)
}

// lines keep what validators log.
type lines struct {
	mu  sync.Mutex
	all []string
}

// Log is part of plugins.Output.
func (l *lines) Log(_ abi.Level, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
}

// Metric is part of plugins.Output.
func (*lines) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.OK }

// newNode opens a node over an engine.
func newNode(t *testing.T, engine core.Engine, code validators.Code) *node {
	t.Helper()
	n := &node{t: t, Validators: validators.New(), lines: &lines{}}
	n.store = core.NewStore(engine, core.StoreConfig{Admit: n.Admit})
	err := n.Open(t.Context(), validators.Config{
		Store: n.store, Code: code, Output: func(*plugins.Binding, int) plugins.Output { return n.lines }, Ended: n.ended,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	return n
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		n.t.Error(err)
	}
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
}

func inMemory(t *testing.T, l *library) *node {
	t.Helper()
	return newNode(t, memory.New(), l)
}

// deploy deploys a validator for some streams, and expects it to be in force.
func (n *node) deploy(name, version string, streams ...string) plugins.Status {
	n.t.Helper()
	s, err := n.Deploy(n.t.Context(), name, plugins.Deploy{Version: version, Input: inputOf(streams...)})
	if err != nil || s.State != plugins.Running {
		n.t.Fatalf("deploy %s: %s %s, %v", name, s.State, s.Reason, err)
	}
	return s
}

func inputOf(streams ...string) *plugins.Input {
	in := &plugins.Input{}
	in.Filter.Streams = streams
	return in
}

// append appends one event for each type, to one stream.
func (n *node) append(stream string, types ...string) error {
	return n.appendTo(n.t.Context(), stream, types...)
}

func (n *node) appendTo(ctx context.Context, stream string, types ...string) error {
	_, err := n.store.Append(ctx, commit(stream, types...))
	return err
}

func commit(stream string, types ...string) core.Commit {
	a := core.Append{Stream: stream, Expect: core.AnyVersion}
	for _, t := range types {
		a.Events = append(a.Events, core.NewEvent{Type: t, Data: []byte(`{}`)})
	}
	return core.Commit{Appends: []core.Append{a}}
}

// wants checks the code of an error; "" is none.
func (n *node) wants(err error, code core.Code) {
	n.t.Helper()
	if code == "" && err != nil || code != "" && (err == nil || core.AsError(err).Code != code) {
		n.t.Errorf("the answer is %v, want %s", err, fmt.Sprintf("%q", code))
	}
}
