package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/host"
	calls "github.com/gyre-events/gyre/plugins/outside"
)

// outside is an effects.Outside with the secrets that a test gives it.
type outside struct {
	mu      sync.Mutex
	secrets map[string]string
	called  []string // keys
}

func (o *outside) Secret(name string) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	value, ok := o.secrets[name]
	return value, ok
}

// Call answers with what it was asked for: the key, and whether at a private address.
func (o *outside) Call(ctx context.Context, r *calls.Request) (*calls.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.called = append(o.called, r.Key)
	if r.Server == "late:1" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &calls.Response{Status: 200, Body: fmt.Append(nil, r.Key, " ", r.Private)}, nil
}

// made is how many calls with keys of their own were made: each is made at least once.
func (o *outside) made() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(slices.Compact(slices.Sorted(slices.Values(o.called))))
}

func (o *outside) set(name, value string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.secrets[name] = value
}

// said keeps what lanes say.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (*said) At(uint64) {}

func (s *said) Log(_ abi.Level, line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, string(line))
}

func (s *said) Metric(_ abi.Kind, name []byte, _ float64) abi.Errno {
	s.Log(abi.Info, append([]byte("metric "), name...))
	return abi.OK
}

func (s *said) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// tell reads the secret KEY, and says it wherever it can.
func tell(c *call) error {
	value, e := c.Reads.Secret([]byte("KEY"))
	if e != abi.OK {
		return c.errno(e)
	}
	secret := string(value)
	for _, line := range []string{"key " + secret + ".", strings.Repeat("x", abi.MaxLineBytes-12) + secret[:12]} {
		c.Output.Log(abi.Info, []byte(line))
	}
	_ = c.Output.Metric(abi.Counter, []byte(secret), 1)
	switch string(c.Type) {
	case "Fails":
		return fmt.Errorf("no luck with %s", secret)
	case "Crashes":
		panic("crashed with " + secret)
	}
	return c.put(string(c.Type), "read")
}

// newOutside is a node with something outside of it.
func newOutside(t *testing.T) (*node, *outside, *said) {
	n := &node{t: t, store: core.NewStore(memory.New(), core.StoreConfig{}), library: newLibrary()}
	o, s := &outside{secrets: map[string]string{}}, &said{}
	n.configure = func(c *host.Config) {
		c.Outside, c.Output = o, func(*plugins.Binding, int) host.Output { return s }
	}
	t.Cleanup(func() { _ = n.store.Close() })
	n.start()
	t.Cleanup(n.stop)
	return n, o, s
}

const hidden = "hidden-0123456789"

// deployTell deploys tell at a node that has the secrets.
func deployTell(t *testing.T, secrets map[string]string, missing bool) (*node, *outside, *said, error) {
	n, o, s := newOutside(t)
	o.secrets = secrets
	n.add("p", "1", plugins.Manifest{}, tell)
	_, err := n.host.Deploy(t.Context(), "p", plugins.Deploy{
		Version: "1", Grants: []string{"state", "secret:KEY", "secret:OTHER"}, OnError: &plugins.ErrorPolicy{Attempts: 1}, AllowMissingSecrets: missing,
	})
	return n, o, s, err
}

// TestMissingSecrets: a deploy names them and changes nothing, unless it is told otherwise; then
// reads are not found, and that is said, until the node has them.
func TestMissingSecrets(t *testing.T) {
	t.Parallel()
	n, o, s, err := deployTell(t, map[string]string{}, false)
	if !errors.Is(err, core.CodeSecretMissing) || !strings.Contains(err.Error(), "secret:KEY, secret:OTHER") {
		t.Fatal(err)
	}
	if _, err := n.host.Status(t.Context(), "p"); !errors.Is(err, core.CodeBindingNotFound) {
		t.Errorf("a deploy that was refused has left %v", err)
	}
	o.set("OTHER", "another secret")
	status := n.deploy("p", plugins.Deploy{
		Version: "1", Grants: []string{"state", "secret:KEY", "secret:OTHER"}, OnError: &plugins.ErrorPolicy{Attempts: 1}, AllowMissingSecrets: true,
	})
	if !slices.Equal(status.MissingSecrets, []string{"secret:KEY"}) {
		t.Errorf("missing are %q", status.MissingSecrets)
	}
	n.append("Reads", 1, 1)
	n.awaitStatus("p", "has one parked", func(s *plugins.Status) bool { return s.Checkpoint >= 1 && s.Parked == 1 })
	if lines := s.all(); !slices.Contains(lines, "this node does not have the secret KEY: add it to the file of --plugin-secrets-file") {
		t.Errorf("logged %q", lines)
	}
	o.set("KEY", hidden)
	n.append("Reads", 1, 1)
	if status = n.await("p", 2); status.Parked != 1 || status.MissingSecrets != nil || n.state("p", 0)["Reads"] != "read" {
		t.Errorf("with the secret it is %+v", status)
	}
}

// TestSecretsAreMasked where a handler says them: in its log, also where a line was cut, in metrics,
// in what it parks for and in its crashes. Nothing that is stored has one.
func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	n, _, s, err := deployTell(t, map[string]string{"KEY": hidden, "OTHER": "another secret"}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range []string{"Reads", "Fails", "Crashes"} {
		n.append(typ, 1, 1)
	}
	n.awaitStatus("p", "has two parked", func(s *plugins.Status) bool { return s.Checkpoint >= 3 && s.Parked == 2 })
	text := fmt.Sprintf("%q %s", s.all(), n.stored())
	for _, position := range []uint64{2, 3} {
		parked, err := n.host.Poison(t.Context(), "p", position)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("%+v", parked)
	}
	for _, want := range []string{"key •••.", "xxx•••", "metric •••", "no luck with •••", "crashed with •••"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if strings.Contains(text, hidden[:8]) {
		t.Errorf("the secret is said: %s", text)
	}
}

// TestDryRunsGetNoSecrets: they say what a version does with events, and go nowhere else.
func TestDryRunsGetNoSecrets(t *testing.T) {
	t.Parallel()
	n, _, _, err := deployTell(t, map[string]string{"KEY": hidden, "OTHER": "another secret"}, false)
	if err != nil {
		t.Fatal(err)
	}
	n.append("Reads", 1, 1)
	n.await("p", 1)
	r := n.dryRun("p", plugins.DryRun{})
	if r.Tried.Parked != 1 || !strings.Contains(fmt.Sprintf("%+v", r), "unsupported") {
		t.Errorf("the dry run is %+v", r.Tried)
	}
}

// fetch calls another server.
func (c *call) fetch(url string) ([]byte, abi.Errno) {
	return c.Reads.HTTP(c.index, []byte(`{"url":"`+url+`"}`), time.Minute)
}

// fetcher keeps what it is answered to two calls of a server.
func fetcher(url string) handle {
	return func(c *call) error {
		for i := range 2 {
			text, e := c.fetch(url)
			if e != abi.OK {
				return c.errno(e)
			}
			var r struct{ BodyBase64 []byte }
			if err := json.Unmarshal(text, &r); err != nil {
				return err
			}
			if err := c.put(fmt.Sprintf("%d.%d", c.Position, i), string(r.BodyBase64)); err != nil {
				return err
			}
		}
		if c.Attempt == 1 {
			return errors.New("again")
		}
		return nil
	}
}

// TestCallsAreMadeAtLeastOnce: those of an event that is handled again are made again, with the same
// keys, each of which is of one call of one event. They are counted, and the status says so.
func TestCallsAreMadeAtLeastOnce(t *testing.T) {
	t.Parallel()
	n, o, _ := newOutside(t)
	n.add("p", "1", plugins.Manifest{}, fetcher("http://10.0.0.1:80/"))
	n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"state", "http:10.0.0.1:80"}, OnError: &plugins.ErrorPolicy{MinMs: 1}})
	n.append("T", 2, 1)
	status := n.await("p", 2)
	if !status.AtLeastOnce || status.Totals.Calls != uint64(len(o.called)) || status.Totals.CallsFailed != 0 || len(o.called) < 8 {
		t.Errorf("after %d calls the status is %+v", len(o.called), status)
	}
	keys := map[string]int{}
	for _, key := range o.called {
		keys[key]++
	}
	for key, state := range n.state("p", 0) {
		answered, private, _ := strings.Cut(state, " ")
		if keys[answered] < 2 || private != "true" {
			t.Errorf("%s is %q; the calls were %v", key, state, keys)
		}
	}
	if len(keys) != 4 {
		t.Errorf("the calls of two events had %d keys", len(keys))
	}
}

// TestRebuildCallsForWhatWasParked: for an event that the live generation has parked it has made no
// call, so the other makes it, once it is live; and no other call.
func TestRebuildCallsForWhatWasParked(t *testing.T) {
	t.Parallel()
	n, o, _ := newOutside(t)
	for _, version := range []string{"1", "2"} {
		n.add("p", version, plugins.Manifest{}, func(c *call) error {
			if version == "1" && string(c.Type) == "Odd" {
				return c.errno(c.Effects.Result(c.index, abi.Park, 0, []byte("it is odd")))
			}
			_, e := c.fetch("http://10.0.0.1:80/")
			if e == abi.Unsupported { // somebody else has called
				return nil
			}
			return c.errno(e)
		})
	}
	n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"http:10.0.0.1:80"}})
	n.append("Even", 1, 1)
	n.append("Odd", 1, 1)
	n.append("Even", 1, 1)
	n.await("p", 3)
	if calls := o.made(); calls != 2 {
		t.Fatalf("%d calls were made", calls)
	}
	if _, err := n.host.Rebuild(t.Context(), "p", plugins.Rebuild{Version: "2"}); err != nil {
		t.Fatal(err)
	}
	n.awaitStatus("p", "is rebuilt, has called for the third event, and has nothing parked", func(s *plugins.Status) bool {
		return s.Generation == 2 && s.Checkpoint == 3 && s.Parked == 0 && o.made() >= 3 // what was parked is known a moment later
	})
	if calls := o.made(); calls != 3 {
		t.Errorf("%d calls were made, of three events", calls)
	}
}

// TestCallsThatAreNotMade: a dry run and a rebuild, whose appends are held back, call nobody; and a
// name may be at a private address only if the grant says so.
func TestCallsThatAreNotMade(t *testing.T) {
	t.Parallel()
	n, o, s := newOutside(t)
	n.add("p", "1", plugins.Manifest{}, func(c *call) error {
		text, e := c.fetch("https://API.example.com/")
		c.Output.Log(abi.Info, fmt.Appendf(nil, "%v %s", e, text))
		return nil
	})
	n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"http:api.example.com:443"}})
	n.append("T", 1, 1)
	n.await("p", 1)
	n.dryRun("p", plugins.DryRun{})
	if _, err := n.host.Rebuild(t.Context(), "p", plugins.Rebuild{}); err != nil {
		t.Fatal(err)
	}
	n.awaitStatus("p", "is rebuilt", func(s *plugins.Status) bool { return s.Generation == 2 })
	n.await("p", 1)
	lines := s.all()
	if len(o.called) != 1 || len(lines) != 2 || !strings.HasPrefix(lines[1], "unsupported") {
		t.Errorf("%d calls, and logged %q", len(o.called), lines)
	}
	for text, want := range map[string]bool{"http:h:1": false, "http:h:1/private": true, "http:H:1/private": true, "http:127.0.0.1:1": true, "http:[::1]:1": true} {
		grants, err := plugins.ParseCapabilities([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(text, "http:"), "/private"))
		if granted, private := grants.Calls(name); !granted || private != want {
			t.Errorf("%s grants %v, at private addresses %v", text, granted, private)
		}
		if granted, _ := grants.Calls("other:1"); granted {
			t.Errorf("%s grants another server", text)
		}
	}
	if _, err := plugins.ParseCapability("http:h:1/public"); err == nil {
		t.Error("another mark than private is taken")
	}
}

// TestShadowCallsNobody: events for which a version in the shadow asks for a server or a secret are said
// to be, and are no differences; other events are compared.
func TestShadowCallsNobody(t *testing.T) {
	t.Parallel()
	n, o, _ := newOutside(t)
	o.secrets = map[string]string{"KEY": hidden}
	calls := func(value string) handle {
		return func(c *call) error {
			switch string(c.Type) {
			case "Calls":
				if _, e := c.Reads.HTTP(c.index, []byte(`{"method":"POST","url":"http://10.0.0.1:80/"}`), time.Second); e != abi.OK {
					return c.errno(e)
				}
			case "Reads":
				if _, e := c.Reads.Secret([]byte("KEY")); e != abi.OK {
					return c.put("secret", "none")
				}
			}
			return c.put(string(c.Type), value)
		}
	}
	n.add("p", "1", plugins.Manifest{}, calls("1"))
	n.deploy("p", plugins.Deploy{Version: "1", Grants: []string{"state", "http:10.0.0.1:80", "secret:KEY"}, OnError: &plugins.ErrorPolicy{MinMs: 1}})
	// A start that is interrupted leaves the next one suspect, and the shadow out of its first batches.
	n.append("Before", 1, 1)
	n.awaitStatus("p", "has handled an event", func(s *plugins.Status) bool { return s.Totals.Events == 1 })
	n.add("p", "2", n.version("p", "1"), calls("2"))
	n.shadow("p", "2")
	for i, c := range []struct {
		typ                       string
		compared, callsOut, calls uint64
	}{{"Plain", 1, 0, 0}, {"Calls", 1, 1, 1}, {"Plain", 2, 1, 1}, {"Reads", 2, 2, 1}, {"Plain", 2, 3, 1}} {
		n.append(c.typ, 1, 1)
		n.awaitStatus("p", "has compared it", func(s *plugins.Status) bool {
			return s.Shadow.Events+s.Shadow.CallsOut+s.Shadow.Dropped == uint64(i+1)
		})
		s := n.differences("p").Shadow
		if s.Events != c.compared || s.CallsOut != c.callsOut || s.Differ != c.compared || o.made() != int(c.calls) {
			t.Fatalf("after %d events, the last %s: %+v, and %d calls", i+1, c.typ, s, o.made())
		}
	}
}
