package cluster_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/gyre-events/gyre/cluster"
)

// TestGossipIsEncrypted: what nodes with a key send names no node, in packets and in streams.
// Without a key it does, so that the test would notice.
func TestGossipIsEncrypted(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		var sent, plain atomic.Int64
		inRing(t, 3, func(r *simRing) {
			r.boot()
		}, func(r *simRing) {
			r.net.seen = func(b []byte) {
				sent.Add(1)
				if bytes.Contains(b, []byte("node1")) || bytes.Contains(b, []byte("node2")) || bytes.Contains(b, []byte("node3")) {
					plain.Add(1)
				}
			}
			r.change = func(_ string, c *cluster.Config) {
				if !encrypted {
					c.Key = nil
				}
			}
		})
		if sent.Load() == 0 || encrypted != (plain.Load() == 0) {
			t.Errorf("with a key: %t: %d of %d messages name a node", encrypted, plain.Load(), sent.Load())
		}
	}
}
