//go:build unix

package runtime_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
	"github.com/gyre-events/gyre/internal/pgtest"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/runtime/certs"
	"github.com/gyre-events/gyre/sdk"
)

// TestRingOverTLS: three nodes with mutual TLS and a key. A client reaches each stream,
// subscription and question about the ring through each of them.
func TestRingOverTLS(t *testing.T) {
	server := pgtest.Shared(t)
	store := server.Store(t)
	dir, files := issued(t)
	files.ClientCA = filepath.Join(dir, certs.CAFile)
	key := filepath.Join(dir, "ring.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	config := func(id string) runtime.Config {
		return runtime.Config{
			Listen: "127.0.0.1:0", Node: id, Postgres: postgres.Config{URL: server.URL, Store: store}, TLS: runtime.TLSConfig{Files: files},
			Ring: runtime.RingConfig{Enabled: true, Gossip: "127.0.0.1:0", Quorum: 2, KeyFile: key},
		}
	}
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	trust := trusting(t, dir)
	trust.Certificates = []tls.Certificate{pair}
	var clients []*sdk.Client
	var url string
	for _, id := range []string{"one", "two", "three"} {
		url = start(t, config(id)).URL()
		client, err := sdk.Dial(t.Context(), url, sdk.Options{TLS: trust})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
	}
	owners := map[string]bool{}
	for i := range 12 {
		c := oneEvent(0)
		c.Appends[0].Stream = fmt.Sprint("order-", i)
		r, err := clients[i%3].Append(t.Context(), c) // the first wait for a quorum
		if err != nil {
			t.Fatal(err)
		}
		owners[r.Node] = true
		if _, err := clients[i%3].Subscriptions().Info(t.Context(), fmt.Sprint("none-", i)); !errors.Is(err, core.CodeSubscriptionNotFound) {
			t.Errorf("a subscription that its owner does not have: %v", err)
		}
	}
	if len(owners) < 2 {
		t.Errorf("owners: %v", owners)
	}
	for _, client := range clients {
		for _, node := range []string{"one", "two", "three"} {
			if status, err := client.Cluster().Status(t.Context(), node); err != nil || status.Self.Node != node || !status.Self.TLS {
				t.Errorf("status of %s: %+v, %v", node, status.Self, err)
			}
		}
	}
	refusedByRing(t, config)
	if res, err := getOver(t, &tls.Config{RootCAs: trust.RootCAs}, url+"/livez"); err == nil {
		t.Errorf("a client without a certificate: %d", res.StatusCode)
	}
}

// refusedByRing starts nodes that cannot be in a ring that uses TLS.
func refusedByRing(t *testing.T, config func(id string) runtime.Config) {
	t.Helper()
	plain := config("four")
	plain.TLS = runtime.TLSConfig{}
	elsewhere := config("four")
	elsewhere.Ring.Advertise = "node4.internal"
	_, elsewhere.TLS.Files = issued(t)
	unknown := config("four")
	_, unknown.TLS.Files = issued(t)
	for name, c := range map[string]struct {
		config runtime.Config
		code   core.Code
		says   string
	}{
		"no TLS":                 {plain, core.CodeClusterMismatch, "takes TLS only, and four has none"},
		"another host's":         {elsewhere, core.CodeInvalidConfig, "node4.internal"},
		"an unknown CA, unnamed": {unknown, core.CodeInvalidConfig, "name the CA that signed it with tls-ca"},
	} {
		node, err := runtime.Start(t.Context(), c.config)
		if err == nil {
			stop(t, node)
		}
		if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %s, %q", name, err, c.code, c.says)
		}
	}
}
