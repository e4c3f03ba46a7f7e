package formation

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// dnsEvery is the pause between two look-ups.
const dnsEvery = 5 * time.Second

// DNS is a provider of what a name stands for. One that begins with an underscore stands
// for the targets of its SRV records. Any other, HOST or HOST:PORT, stands for its addresses;
// port is that of a host without one. The error says why a text is no such name.
func DNS(name string, resolver *net.Resolver, text, port string) (Provider, error) {
	p := Provider{Name: name, Every: dnsEvery}
	if strings.HasPrefix(text, "_") {
		if !isHost(text) {
			return p, fmt.Errorf("%.*q is not a name of SRV records, which have ports of their own", maxQuoted, text)
		}
		p.Find = func(ctx context.Context) ([]string, error) { return services(ctx, resolver, text) }
		return p, nil
	}
	address, err := Address(text, port)
	if err != nil {
		return p, err
	}
	host, port, err := net.SplitHostPort(address)
	p.Find = func(ctx context.Context) ([]string, error) { return hosts(ctx, resolver, host, port) }
	return p, err
}

// hosts looks for A and AAAA records.
func hosts(ctx context.Context, resolver *net.Resolver, host, port string) (list []string, err error) {
	ips, err := resolver.LookupNetIP(ctx, "ip", host)
	for _, ip := range ips {
		list = append(list, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return list, err
}

// services looks for SRV records. Those that name no host or no port are passed over.
func services(ctx context.Context, resolver *net.Resolver, name string) (list []string, err error) {
	_, records, err := resolver.LookupSRV(ctx, "", "", name)
	for _, r := range records {
		address, wrong := Address(net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))), "")
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		list = append(list, address)
	}
	return list, err
}
