package formation_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/gyre-events/gyre/cluster/formation"
)

// dnsServer is a server of DNS, with records that may change. A name without records is
// not there.
type dnsServer struct {
	address string
	records atomic.Pointer[map[string][]string] // by name, as a file of a zone has them
}

func newDNSServer(t *testing.T) *dnsServer {
	t.Helper()
	s := &dnsServer{}
	s.set(nil)
	packets, streams := listenBoth(t)
	s.address = packets.LocalAddr().String()
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: streams, Handler: s}} {
		ended := make(chan error, 1)
		listens := make(chan struct{})
		server.NotifyStartedFunc = func() { close(listens) }
		go func() { ended <- server.ActivateAndServe() }()
		<-listens
		t.Cleanup(func() {
			if err := errors.Join(server.Shutdown(), <-ended); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

// listenBoth listens on one port of UDP and of TCP.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		packets.Close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

// set replaces all records.
func (s *dnsServer) set(records map[string][]string) { s.records.Store(&records) }

// ServeDNS is dns.Handler's.
func (s *dnsServer) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	answer := new(dns.Msg).SetReply(request)
	answer.Authoritative = true
	name := request.Question[0].Name
	lines, ok := (*s.records.Load())[name]
	switch {
	case !ok:
		answer.Rcode = dns.RcodeNameError
	case slices.Equal(lines, []string{"SERVFAIL"}):
		answer.Rcode = dns.RcodeServerFailure
	case slices.Equal(lines, []string{"SILENCE"}):
		return
	}
	for _, line := range lines {
		if r, err := dns.NewRR(name + " 0 IN " + line); err == nil && r != nil && r.Header().Rrtype == request.Question[0].Qtype {
			answer.Answer = append(answer.Answer, r)
		}
	}
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		answer.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(answer) // who asked may be gone
}

// resolver asks the server.
func (s *dnsServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, s.address)
	}}
}

// provider finds a name at the server.
func (s *dnsServer) provider(t *testing.T, name string) formation.Provider {
	t.Helper()
	p, err := formation.DNS("peers-dns", s.resolver(), name, "7946")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDNS(t *testing.T) {
	var many, all []string
	for i := range 1000 {
		ip := fmt.Sprintf("10.0.%d.%d", i/250, i%250)
		many, all = append(many, "A "+ip), append(all, ip+":7946")
	}
	slices.Sort(all)
	s := newDNSServer(t)
	for _, c := range []struct {
		name    string
		records []string // nil: there are none
		want    []string
		problem string
	}{
		{"a.test.", []string{"A 10.0.0.1", "A 10.0.0.2"}, []string{"10.0.0.1:7946", "10.0.0.2:7946"}, ""},
		{"aaaa.test.", []string{"A 10.0.0.1", "AAAA fd00::1"}, []string{"10.0.0.1:7946", "[fd00::1]:7946"}, ""},
		{"port.test.:80", []string{"A 10.0.0.1"}, []string{"10.0.0.1:80"}, ""},
		{"many.test.", many, all, ""},
		{"_g._tcp.test.", []string{"SRV 0 0 7001 a.test.", "SRV 1 0 7002 b.test."}, []string{"a.test:7001", "b.test:7002"}, ""},
		{"_lies._tcp.test.", []string{"SRV 0 0 7001 a.test.", "SRV 0 0 0 b.test.", "SRV 0 0 1 ."}, []string{"a.test:7001"}, "is not HOST or HOST:PORT"},
		{"_a._tcp.test.", []string{"A 10.0.0.1"}, nil, "no such host"},
		{"nobody.test.", nil, nil, "no such host"},
		{"_nobody._tcp.test.", nil, nil, "no such host"},
		{"fails.test.", []string{"SERVFAIL"}, nil, "server misbehaving"},
	} {
		host, _, _ := strings.Cut(c.name, ":")
		s.set(nil)
		if c.records != nil {
			s.set(map[string][]string{host: c.records})
		}
		list, err := s.provider(t, c.name).Find(t.Context())
		slices.Sort(list)
		if !slices.Equal(list, c.want) || (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %.200q, %v, want %.200q, %q", c.name, list, err, c.want, c.problem)
		}
	}
	s.set(map[string][]string{"silent.test.": {"SILENCE"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.provider(t, "silent.test.").Find(ctx); err == nil || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("a server that does not answer: %v", err)
	}
}

func TestDNSNames(t *testing.T) {
	for _, name := range []string{"", "_g._tcp.test:7946", "_", "a b", "a:0", ":80", "http://a", "[::1"} {
		if _, err := formation.DNS("peers-dns", net.DefaultResolver, name, "7946"); (err == nil) != (name == "_") {
			t.Errorf("%q: %v", name, err)
		}
	}
}
