package runtime_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
)

// TestProtected: beyond this machine a node wants TLS and a key, or to be told that it needs
// none.
func TestProtected(t *testing.T) {
	_, files := issued(t)
	secure, plain := runtime.TLSConfig{Files: files}, runtime.TLSConfig{Plaintext: true}
	everywhere := runtime.AdminConfig{Listen: "0.0.0.0:0"}
	for name, c := range map[string]struct {
		config runtime.Config
		says   string // "": it starts
	}{
		"loopback":                 {runtime.Config{Listen: "127.0.0.1:0"}, ""},
		"loopback with TLS":        {runtime.Config{Listen: "127.0.0.1:0", TLS: secure}, ""},
		"loopback plain":           {runtime.Config{Listen: "127.0.0.1:0", TLS: plain}, ""},
		"everywhere":               {runtime.Config{Listen: "0.0.0.0:0"}, "the node serves no TLS"},
		"everywhere with TLS":      {runtime.Config{Listen: "0.0.0.0:0", TLS: secure}, "the store has no key"},
		"everywhere plain":         {runtime.Config{Listen: ":0", TLS: plain}, "the store has no key"},
		"everywhere, insecure":     {runtime.Config{Listen: "0.0.0.0:0", Insecure: true}, ""},
		"metrics everywhere":       {runtime.Config{Listen: "127.0.0.1:0", Admin: everywhere}, "the node serves no TLS"},
		"metrics with TLS":         {runtime.Config{Listen: "127.0.0.1:0", Admin: everywhere, TLS: secure}, "the store has no key"},
		"metrics, insecure":        {runtime.Config{Listen: "127.0.0.1:0", Admin: everywhere, Insecure: true}, ""},
		"TLS and Insecure at once": {runtime.Config{Listen: "0.0.0.0:0", TLS: secure, Insecure: true}, ""},
	} {
		c.config.Engine = runtime.EngineMemory
		node, err := runtime.Start(t.Context(), c.config)
		if err == nil {
			stop(t, node)
		}
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, core.CodeInsecureListen) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func TestInsecureIsShown(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		node := start(t, runtime.Config{Engine: runtime.EngineMemory, Insecure: insecure})
		for _, page := range []string{"/", "/docs/errors/forbidden"} {
			if _, text := get(t, node.URL()+page); strings.Contains(text, "<strong>Insecure:") != insecure {
				t.Errorf("insecure: %t, %s: %s", insecure, page, text)
			}
		}
	}
}

func TestAdminListener(t *testing.T) {
	node := start(t, runtime.Config{Engine: runtime.EngineMemory, Admin: runtime.AdminConfig{Listen: "127.0.0.1:0"}})
	admin := "http://" + node.AdminAddr()
	for url, want := range map[string]int{
		admin + "/metrics":                          http.StatusOK,
		admin + "/livez":                            http.StatusOK,
		admin + "/debug/pprof/heap":                 http.StatusOK,
		admin + "/debug/pprof/goroutine?debug=1":    http.StatusOK,
		admin + "/debug/pprof/profile?seconds=61":   http.StatusBadRequest,
		admin + "/debug/pprof/profile?seconds=-1":   http.StatusBadRequest,
		admin + "/debug/pprof/heap?seconds=1000000": http.StatusBadRequest,
		admin + "/debug/pprof/cmdline":              http.StatusNotFound,
		admin + "/v1/streams":                       http.StatusNotFound,
		node.URL() + "/metrics":                     http.StatusNotFound,
		node.URL() + "/debug/pprof/heap":            http.StatusNotFound,
		node.URL() + "/livez":                       http.StatusOK,
	} {
		if status, body := get(t, url); status != want {
			t.Errorf("%s: %d, want %d: %.200s", url, status, want, body)
		}
	}
	if _, page := get(t, node.URL()+"/"); strings.Contains(page, `href="/metrics"`) {
		t.Error("the landing page links to metrics that are not there")
	}
	taken := runtime.Config{Listen: "127.0.0.1:0", Engine: runtime.EngineMemory, Admin: runtime.AdminConfig{Listen: node.AdminAddr()}}
	if second, err := runtime.Start(t.Context(), taken); !errors.Is(err, core.CodeInvalidConfig) {
		if err == nil {
			stop(t, second)
		}
		t.Errorf("an address that is taken: %v", err)
	}
}

// TestKeysProtect: with the first key, a node may be reached from other machines.
func TestKeysProtect(t *testing.T) {
	dir, files := issued(t)
	config := runtime.Config{Listen: "127.0.0.1:0", Data: t.TempDir(), TLS: runtime.TLSConfig{Files: files}}
	first, err := runtime.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = first.Keys().Init(t.Context(), "test")
	stop(t, first)
	if err != nil {
		t.Fatal(err)
	}
	config.Listen = "0.0.0.0:0"
	node := start(t, config)
	if res, err := getOver(t, trusting(t, dir), node.URL()+"/v1/streams"); err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %+v, %v", res, err)
	}
}

// keyFile writes a new key to a file, for its user only.
func keyFile(t *testing.T) (file, token string) {
	t.Helper()
	file, token = filepath.Join(t.TempDir(), "admin.key"), keys.NewToken()
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, token
}

// TestAdminKeyFile: a store takes the key of the file as its first, and no other later.
func TestAdminKeyFile(t *testing.T) {
	file, token := keyFile(t)
	config := runtime.Config{
		Listen: "0.0.0.0:0", Data: t.TempDir(), TLS: runtime.TLSConfig{Plaintext: true},
		Admin: runtime.AdminConfig{KeyFile: file},
	}
	for range 2 {
		node, err := runtime.Start(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := node.Keys().Authenticate(token); err != nil || p.Role != access.Admin {
			t.Errorf("%v, %v", p, err)
		}
		if list := node.Keys().List(); len(list) != 1 || !strings.HasPrefix(list[0].By, "node:") {
			t.Errorf("the keys are %+v", list)
		}
		stop(t, node)
	}
	other, _ := keyFile(t)
	config.Admin.KeyFile = other
	if _, err := runtime.Start(t.Context(), config); !errors.Is(err, core.CodeInvalidConfig) || !strings.Contains(err.Error(), "leave admin-key-file out") {
		t.Errorf("another key: %v", err)
	}
	config.Admin.KeyFile = ""
	stop(t, start(t, config))
}
