package postgres

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gyre-events/gyre/core"
)

// Target describes where a Config leads to. It has no secrets.
type Target struct {
	// Hosts are host:port, or the directory of a socket, in the order in which they
	// are tried.
	Hosts    []string
	Database string
	Store    string
}

// String is where the database is: db.example.com:5432/shop.
func (t Target) String() string { return strings.Join(t.Hosts, ",") + "/" + t.Database }

// IsURL reports whether s is meant to be the URL of a PostgreSQL server.
func IsURL(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// Target checks a Config, without connecting, and says where it leads to. The error
// is invalid_config, and has no password in it, however wrong the URL is.
func (c Config) Target() (Target, error) {
	if err := c.validate(); err != nil {
		return Target{}, err
	}
	if !IsURL(c.URL) {
		return Target{}, core.Errorf(core.CodeInvalidConfig, "the URL of the PostgreSQL server does not begin with postgres://")
	}
	if !plainUser(c.URL) {
		return Target{}, core.Errorf(core.CodeInvalidConfig,
			"user and password in the URL of the PostgreSQL server have a character that ends them; '@' is written %%40 there, and '/' %%2F")
	}
	p, err := c.pool()
	if err != nil {
		return Target{}, err
	}
	t := Target{Database: p.ConnConfig.Database, Store: c.Store}
	if t.Database == "" {
		t.Database = p.ConnConfig.User // as the server does
	}
	t.add(p.ConnConfig.Host, p.ConnConfig.Port)
	for _, f := range p.ConnConfig.Fallbacks {
		t.add(f.Host, f.Port)
	}
	return t, nil
}

// plainUser reports whether user and password of a URL end where the driver takes
// them to end. Else part of the password may be taken for a host, and be shown.
func plainUser(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	rest, _, _ = strings.Cut(rest, "?")
	at := strings.LastIndexByte(rest, '@')
	return at < 0 || !strings.ContainsAny(rest[:at], "@/")
}

// add adds a host, unless it is there: each is tried with and without TLS.
func (t *Target) add(host string, port uint16) {
	if network, _ := pgconn.NetworkAddress(host, port); network == "tcp" {
		host = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if !slices.Contains(t.Hosts, host) {
		t.Hosts = append(t.Hosts, host)
	}
}
