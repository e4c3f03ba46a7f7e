package host_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// handle is a handler in Go of one event.
type handle func(c *call) error

// call is what a handle is given.
type call struct {
	ctx context.Context
	plugins.Connection
	memory map[string]int // what the instance remembers
	index  int
	abi.Event
}

// library has programs in Go, by plugin and version.
type library struct {
	mu       sync.Mutex
	versions map[string]plugins.Version
	handles  map[string]handle
	queries  map[string]answer
	broken   map[string]error // versions that do not load
	held     func()           // see whenHeld
}

func newLibrary() *library {
	return &library{versions: map[string]plugins.Version{}, handles: map[string]handle{}, queries: map[string]answer{}, broken: map[string]error{}}
}

// add uploads a version, so to speak.
func (l *library) add(plugin, version string, m plugins.Manifest, h handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := sha256.Sum256([]byte(plugin + "@" + version))
	m.Name, m.Version = plugin, version
	if m.Kind == "" {
		m.Kind = plugins.KindHandler
	}
	l.versions[plugin+"@"+version] = plugins.Version{Plugin: plugin, Version: version, SHA256: hex.EncodeToString(sum[:]), Manifest: m}
	l.handles[plugin+"@"+version] = h
}

// version is the manifest of a version.
func (l *library) version(plugin, version string) plugins.Manifest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.versions[plugin+"@"+version].Manifest
}

func (l *library) breakVersion(name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken[name] = err
}

func (l *library) Version(_ context.Context, plugin, version string) (plugins.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.versions[plugin+"@"+version]
	if !ok {
		return v, core.Errorf(core.CodeVersionNotFound, "there is no version %q of %q", version, plugin)
	}
	return v, nil
}

func (l *library) CheckConfig(*plugins.Version, []byte) error { return nil }

// whenHeld has something done once, when a deploy next holds a version, before it goes on.
func (l *library) whenHeld(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = do
}

func (l *library) Hold(v *plugins.Version) (core.RecordOp, error) {
	l.mu.Lock()
	do := l.held
	l.held = nil
	l.mu.Unlock()
	if do != nil {
		do()
	}
	return core.RecordOp{Table: "held", Key: v.Plugin + " " + v.Version, Expect: core.AnyVersion}, nil
}

func (l *library) Load(_ context.Context, v plugins.Version) (plugins.Program, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := v.Plugin + "@" + v.Version
	if err := l.broken[name]; err != nil {
		return nil, err
	}
	return program{l.handles[name]}, nil
}

// answer answers a query in Go.
type answer func(ctx context.Context, c plugins.Connection, query []byte) (abi.Verdict, error)

// answers has a version answer queries.
func (l *library) answers(name string, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queries[name] = a
}

func (l *library) LoadQuery(_ context.Context, v plugins.Version) (plugins.Program, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.queries[v.Plugin+"@"+v.Version]
	if a == nil {
		return nil, core.Errorf(core.CodeNoQuery, "%s answers no queries", v.Plugin)
	}
	return asked{answer: a}, nil
}

// asked is the plugins.Program and the plugins.Handler of an answer.
type asked struct {
	plugins.Connection
	answer
}

func (a asked) New(_ context.Context, c plugins.Connection) (plugins.Handler, error) {
	a.Connection = c
	return closing{a}, nil
}

func (asked) Close() error { return nil }

type closing struct{ asked }

func (c closing) Handle(ctx context.Context, query []byte) (abi.Verdict, int64, error) {
	verdict, err := c.answer(ctx, c.Connection, query)
	return verdict, 0, err
}

func (closing) MemoryBytes() int64 { return 0 }

func (closing) Close() {}

type program struct{ handle }

func (p program) New(_ context.Context, c plugins.Connection) (plugins.Handler, error) {
	return &instance{program: p, Connection: c, memory: map[string]int{}}, nil
}

func (program) Close() error { return nil }

func (i *instance) MemoryBytes() int64 { return int64(len(i.memory)) }

type instance struct {
	program
	plugins.Connection
	memory map[string]int
	dead   bool
}

var errStop = errors.New("stop")

// Handle handles the events of a batch in turn. Like a Wasm instance, it is dead after a batch
// that failed.
func (i *instance) Handle(ctx context.Context, batch []byte) (abi.Verdict, int64, error) {
	if i.dead {
		return 0, 0, errors.New("the instance is dead")
	}
	verdict, fuel, err := i.handleAll(ctx, batch)
	i.dead = err != nil || verdict != abi.Done
	return verdict, fuel, err
}

func (i *instance) handleAll(ctx context.Context, batch []byte) (abi.Verdict, int64, error) {
	b, err := abi.OpenBatch(batch)
	if err != nil {
		return 0, 0, err
	}
	c := call{ctx: ctx, Connection: i.Connection, memory: i.memory}
	for ; ; c.index++ {
		ok, err := b.Next(&c.Event)
		if err != nil {
			return 0, 0, err
		}
		if !ok {
			return abi.Done, int64(c.index), nil
		}
		switch err := i.handle(&c); {
		case errors.Is(err, errStop):
			return abi.Stop, 0, nil
		case err != nil:
			return 0, 0, err
		}
	}
}

func (i *instance) Close() {}

// retry has the event retried, park has it parked.
func (c *call) retry(why string, after time.Duration) error {
	return c.errno(c.Effects.Result(c.index, abi.Retry, after, []byte(why)))
}

func (c *call) park(why string) error {
	return c.errno(c.Effects.Result(c.index, abi.Park, 0, []byte(why)))
}

func (c *call) errno(e abi.Errno) error {
	if e != abi.OK {
		return &plugins.Failure{Reason: "failed", Detail: e.Error()}
	}
	return nil
}

func (c *call) append(stream string, expected int64, typ, data string) error {
	b, err := abi.AppendEvent(nil, &abi.Appended{Type: []byte(typ), Data: []byte(data)})
	if err != nil {
		return err
	}
	return c.errno(c.Effects.Append(c.index, []byte(stream), expected, b))
}

func (c *call) put(key, value string) error {
	return c.errno(c.Effects.Put(c.index, []byte(key), []byte(value)))
}

func (c *call) get(key string) (string, bool, error) {
	v, e := c.Reads.Get([]byte(key))
	if e == abi.NotFound {
		return "", false, nil
	}
	return string(v), true, c.errno(e)
}

// count adds one to a number in the state, and returns it.
func (c *call) count(key string) (int, error) {
	v, ok, err := c.get(key)
	n := 0
	if ok && err == nil {
		n, err = strconv.Atoi(v)
	}
	if err != nil {
		return 0, fmt.Errorf("state %s: %w", key, err)
	}
	return n + 1, c.put(key, strconv.Itoa(n+1))
}
