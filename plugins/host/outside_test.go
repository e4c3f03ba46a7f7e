package host_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/host"
)

// outside is an effects.Outside with the secrets that a test gives it.
type outside struct {
	mu      sync.Mutex
	secrets map[string]string
}

func (o *outside) Secret(name string) (string, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	value, ok := o.secrets[name]
	return value, ok
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
	c.Output.Metric(abi.Counter, []byte(secret), 1)
	switch string(c.Type) {
	case "Fails":
		return fmt.Errorf("no luck with %s", secret)
	case "Crashes":
		panic("crashed with " + secret)
	}
	return c.put(string(c.Type), "read")
}

const hidden = "hidden-0123456789"

// deployTell deploys tell at a node that has the secrets.
func deployTell(t *testing.T, secrets map[string]string, missing bool) (*node, *outside, *said, error) {
	n := &node{t: t, store: core.NewStore(memory.New(), core.StoreConfig{}), library: newLibrary()}
	o, s := &outside{secrets: secrets}, &said{}
	n.configure = func(c *host.Config) {
		c.Outside, c.Output = o, func(*plugins.Binding, int) host.Output { return s }
	}
	t.Cleanup(func() { _ = n.store.Close() })
	n.start()
	t.Cleanup(n.stop)
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
	if status = n.await("p", 1); status.Parked != 1 {
		t.Errorf("%d events are parked", status.Parked)
	}
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
	if status := n.await("p", 3); status.Parked != 2 {
		t.Errorf("%d events are parked", status.Parked)
	}
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
