package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/certs"
)

// newCerts makes the certificates of a ring, with mutual TLS.
func newCerts(t *testing.T, hosts ...string) *certs.Set {
	t.Helper()
	dir := t.TempDir()
	if err := certs.WriteNew(dir, hosts...); err != nil {
		t.Fatal(err)
	}
	set, err := certs.Open(certs.Files{
		Cert: filepath.Join(dir, certs.CertFile), Key: filepath.Join(dir, certs.KeyFile), ClientCA: filepath.Join(dir, certs.CAFile),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestPeersOverTLS: links, relays and forwarded requests.
func TestPeersOverTLS(t *testing.T) {
	nodes := newPeerRingOver(t, 3, "key", newCerts(t, "127.0.0.1"))
	direct := dialPeer(t, nodes[0], nodes[1], 1)
	if a := <-submit(t.Context(), direct, commitTo("s", 2)); a.err != nil {
		t.Errorf("%+v", a)
	}
	_ = direct.Close()
	at := "/v1/subscriptions/" + ownedBy(nodes[1])
	if a := nodes[0].ask(t, "PUT", at, "{}"); a.status != 201 || a.node != "node2" {
		t.Errorf("%d from %q, %s", a.status, a.node, a.body)
	}
	unreachable := nodes[0].cutOff(nodes[1])
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	around, err := nodes[0].Dial(ctx, unreachable, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer around.Close()
	if a := <-submit(ctx, around, commitTo("s", 2)); a.err != nil {
		t.Errorf("%+v", a)
	}
	if head := nodes[1].store.State().Head; head != 2 {
		t.Errorf("node 2 has %d of 2 Commits", head)
	}
	if a := nodes[0].ask(t, "GET", at, ""); a.status != 200 || a.node != "node2" {
		t.Errorf("through node 3: %d from %q, %s", a.status, a.node, a.body)
	}
}

// TestPeersRefuseCertificates: what answers must have a certificate of the CA, for the address
// that was dialed; the reason is logged once.
func TestPeersRefuseCertificates(t *testing.T) {
	own := newCerts(t, "127.0.0.1")
	for name, c := range map[string]struct {
		server *certs.Set
		says   string
	}{
		"another CA":   {newCerts(t, "127.0.0.1"), "authority"},
		"another host": {newCerts(t, "10.0.0.1"), "another host"},
		"no TLS":       {nil, "does not serve TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := newPeerRingOver(t, 2, "key", c.server)
			var log bytes.Buffer
			nodes[0].certs, nodes[0].logger = own, slog.New(slog.NewTextHandler(&log, nil))
			if name == "another host" {
				nodes[0].certs = c.server
			}
			for generation := range uint64(3) {
				_, err := nodes[0].Dial(t.Context(), nodes[1].member, generation+1)
				if !errors.Is(err, core.CodeTlsFailed) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %q", err, c.says)
				}
			}
			if n := strings.Count(log.String(), "no TLS connection to another node"); n != 1 {
				t.Errorf("logged %d times:\n%s", n, log.String())
			}
			if a := nodes[0].troubles.known["node2"]; !strings.Contains(fmt.Sprint(a), c.says) {
				t.Errorf("known: %q", a)
			}
		})
	}
}
