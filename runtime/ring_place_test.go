package runtime

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPlaceInRing(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	peers := func(n int) []string {
		return []string{"127.0.0.1:7946", "127.0.0.1:7947", "127.0.0.1:7948", "127.0.0.1:7949", "127.0.0.1:7950"}[:n]
	}
	for name, c := range map[string]struct {
		ring       RingConfig
		listening  string
		node       string
		advertised string
		gossip     string
		peers      []string
		quorum     int
	}{
		"nothing set": {RingConfig{}, "127.0.0.1:4973", machine + ":4973", "127.0.0.1:4973", "127.0.0.1:7946", nil, 2},
		"one of three": {RingConfig{Peers: peers(3)}, "127.0.0.1:4973", machine + ":4973", "127.0.0.1:4973", "127.0.0.1:7946",
			peers(3)[1:], 2},
		"one of five, by name": {RingConfig{Peers: append(peers(5)[1:], "localhost:7946")}, "127.0.0.1:4973", machine + ":4973",
			"127.0.0.1:4973", "127.0.0.1:7946", peers(5)[1:], 3},
		"three others": {RingConfig{Peers: peers(3), Gossip: "127.0.0.1:7999"}, "127.0.0.1:4973", machine + ":4973",
			"127.0.0.1:4973", "127.0.0.1:7999", peers(3), 3},
		"a quorum": {RingConfig{Peers: peers(3), Quorum: 1}, "127.0.0.1:4973", machine + ":4973", "127.0.0.1:4973", "127.0.0.1:7946",
			peers(3)[1:], 1},
		"a host": {RingConfig{Advertise: "db7.internal"}, "0.0.0.0:4973", "db7.internal:4973", "db7.internal:4973", "0.0.0.0:7946",
			nil, 2},
		"a host and port": {RingConfig{Advertise: "[2001:db8::1]:80"}, "[::]:4973", "[2001:db8::1]:80", "[2001:db8::1]:80",
			"[::]:7946", nil, 2},
	} {
		t.Run(name, func(t *testing.T) {
			config := Config{Ring: c.ring}
			p, err := config.place(t.Context(), c.listening)
			if err != nil {
				t.Fatal(err)
			}
			if nodeName(p.advertised) != c.node || p.advertised != c.advertised || p.gossip != c.gossip || !slices.Equal(p.peers, c.peers) || p.quorum != c.quorum {
				t.Errorf("node %s, %+v", nodeName(p.advertised), p)
			}
		})
	}
}

func TestKeyFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	read := func(text string) (string, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		key, err := readKey(file)
		return string(key), err
	}
	one, err := read(strings.Repeat("k", minKeyBytes))
	if err != nil || len(one) != 32 {
		t.Fatalf("a key of %d bytes, %v", len(one), err)
	}
	if same, err := read(" " + strings.Repeat("k", minKeyBytes) + "\r\n"); err != nil || same != one {
		t.Errorf("space around a key changes it: %v", err)
	}
	for _, bad := range []string{"", "short", strings.Repeat("k", 30) + "\n" + strings.Repeat("k", 30), strings.Repeat("\x00", 100), strings.Repeat("k", maxKeyFile+1)} {
		if _, err := read(bad); err == nil {
			t.Errorf("%.40q is a key", bad)
		}
	}
	if _, err := readKey("/dev/zero"); err == nil {
		t.Error("a device without an end is a key")
	}
}
