package runtime_test

import (
	"encoding/json"
	"net"
	"os"
	"testing"

	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/wsapi/spectest"
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
	doc := spectest.Read(t, "../wsapi/docs/openapi.json")
	doc.Parameters(t, "GET", "/v1/config", []string{"node"})
}
