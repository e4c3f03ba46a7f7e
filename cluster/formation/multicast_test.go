package formation_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/cluster/formation"
)

// group returns a multicast group for a test.
func group(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("239.255.49.73", port)
}

// beacons takes part in a group on the loopback interface.
func beacons(t *testing.T, group, cluster, key, address string) formation.Provider {
	t.Helper()
	p, err := formation.Multicast(formation.Beacons{
		Name: "peers-multicast", Group: group, Cluster: cluster, Key: []byte(key), Address: address, Bind: "127.0.0.1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestMulticast(t *testing.T) {
	at := group(t)
	one := beacons(t, at, "gyre", "key", "10.0.0.1:1")
	two := beacons(t, at, "gyre", "key", "10.0.0.2:2")
	strangers := []formation.Provider{beacons(t, at, "other", "key", "10.0.0.3:3"), beacons(t, at, "gyre", "yek", "10.0.0.4:4")}
	// hears asks a provider until it says what is expected: nothing says when a packet has
	// come.
	hears := func(who formation.Provider, addresses []string, problem string) {
		t.Helper()
		var list []string
		var err error
		for by := time.Now().Add(30 * time.Second); time.Now().Before(by); time.Sleep(10 * time.Millisecond) {
			list, err = who.Find(t.Context())
			slices.Sort(list)
			if slices.Equal(list, addresses) && (err == nil) == (problem == "") && (err == nil || strings.Contains(err.Error(), problem)) {
				return
			}
		}
		t.Fatalf("it hears %q, %v, want %q, %q", list, err, addresses, problem)
	}
	for _, s := range strangers {
		if list, err := s.Find(t.Context()); len(list) > 0 {
			t.Errorf("a stranger hears %q, %v", list, err)
		}
	}
	hears(one, nil, "its key or cluster-name differs")
	hears(two, []string{"10.0.0.1:1"}, "")
	hears(one, []string{"10.0.0.2:2"}, "")
	for _, s := range strangers {
		hears(s, nil, "its key or cluster-name differs")
	}
}

func TestMulticastIsRefused(t *testing.T) {
	for _, c := range []struct{ group, bind, words string }{
		{"", "127.0.0.1", `"" is not IP:PORT of an IPv4 multicast group, such as 239.`},
		{"10.0.0.1:7947", "127.0.0.1", "multicast group"},
		{"239.255.49.73", "127.0.0.1", "multicast group"},
		{"239.255.49.73:0", "127.0.0.1", "multicast group"},
		{"[ff02::1]:7947", "127.0.0.1", "multicast group"},
		{"localhost:7947", "127.0.0.1", "multicast group"},
		{"239.255.49.73:4973", "192.0.2.1", "no interface of this machine that is up has the address 192.0.2.1"},
	} {
		if p, err := formation.Multicast(formation.Beacons{Name: "peers-multicast", Group: c.group, Bind: c.bind}); err == nil || !strings.Contains(err.Error(), c.words) {
			if err == nil {
				p.Close()
			}
			t.Errorf("%+v: %v", c, err)
		}
	}
}
