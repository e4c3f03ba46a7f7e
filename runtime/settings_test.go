package runtime_test

import (
	"encoding/json"
	"net"
	"os"
	"testing"

	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// Settings have what the node has found out where it was told nothing.
func TestSettings(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, Admin: runtime.AdminConfig{Settings: []wire.Setting{
		{Name: "listen", Value: "127.0.0.1:0", Source: wire.FromFlag, From: "--listen"}, {Name: "engine", Source: wire.FromDefault},
		{Name: "node", Source: wire.FromDefault}, {Name: "data", Value: "data", Default: "data", Source: wire.FromDefault},
	}}})
	_, body := get(t, node.URL()+"/v1/config")
	var got wire.Settings
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(node.Addr())
	host, err2 := os.Hostname()
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	want := map[string]string{"listen": node.Addr(), "engine": "memory", "node": host + ":" + port, "data": "data"}
	for _, s := range got.Settings {
		if s.Value != want[s.Name] {
			t.Errorf("%+v, want %q", s, want[s.Name])
		}
	}
	if len(got.Settings) != len(want) || got.Node != want["node"] || got.Settings[0].From != "--listen" {
		t.Errorf("%+v", got)
	}
}

// The descriptions of the APIs have the route of the settings.
func TestSettingsAreDescribed(t *testing.T) {
	var open struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ Name string }
		}
	}
	text, err := os.ReadFile("../wsapi/docs/openapi.json")
	if err == nil {
		err = json.Unmarshal(text, &open)
	}
	if err != nil {
		t.Fatal(err)
	}
	if p := open.Paths["/v1/config"]["get"].Parameters; len(p) == 0 || p[0].Name != "node" {
		t.Errorf("openapi.json has the parameters %v", p)
	}
}
