package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime/certs"
	"github.com/gyre-events/gyre/runtime/secret"
)

// maxClientKey is more than the key of a certificate has.
const maxClientKey = 1 << 20

// clientTLS are the files for connections to nodes that serve TLS.
type clientTLS struct{ ca, cert, key string }

// addTLS adds the flags of a command that connects to a node. gyre doctor has one of them as
// a node has it, with the same meaning.
func (a *app) addTLS(cmd *cobra.Command) {
	flags := cmd.Flags()
	if flags.Lookup("tls-ca") == nil {
		flags.StringVar(&a.tls.ca, "tls-ca", "", "file of the CAs of the node's certificate, in PEM (env GYRE_TLS_CA, default the machine's)")
	}
	flags.StringVar(&a.tls.cert, "tls-client-cert", "", "certificate for a node that wants one, with --tls-client-key (env GYRE_TLS_CLIENT_CERT)")
	flags.StringVar(&a.tls.key, "tls-client-key", "", "its key, which only you may read (env GYRE_TLS_CLIENT_KEY)")
}

// tlsConfig is for connections to nodes; nil is Go's default.
func (a *app) tlsConfig() (*tls.Config, error) {
	files := clientTLS{
		cmp.Or(a.tls.ca, a.getenv("GYRE_TLS_CA")),
		cmp.Or(a.tls.cert, a.getenv("GYRE_TLS_CLIENT_CERT")), cmp.Or(a.tls.key, a.getenv("GYRE_TLS_CLIENT_KEY")),
	}
	if files == (clientTLS{}) {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if files.ca != "" {
		if config.RootCAs, err = certs.Pool("tls-ca", files.ca); err != nil {
			return nil, err
		}
	}
	if (files.cert == "") != (files.key == "") {
		return nil, core.Errorf(core.CodeInvalidConfig, "tls-client-cert and tls-client-key go together: give both, or none")
	}
	if files.cert != "" {
		cert, err := os.ReadFile(files.cert)
		if err != nil {
			return nil, core.Errorf(core.CodeInvalidConfig, "tls-client-cert: %w", err)
		}
		key, err := secret.Read(files.key, maxClientKey)
		if err != nil {
			return nil, core.Errorf(core.CodeInvalidConfig, "tls-client-key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, core.Errorf(core.CodeInvalidConfig, "tls-client-cert and tls-client-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// httpClient makes single requests to nodes.
func (a *app) httpClient() (*http.Client, error) {
	config, err := a.tlsConfig()
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true}}, err
}

const devCertHelp = `Make a CA and a certificate of it, for localhost, 127.0.0.1, ::1 and each --host, to try TLS with.
They are valid for 397 days. The key of the CA is not kept, so that nobody can make another
certificate that your clients take. For a service of yours, use the certificates of your own CA.

All nodes of a ring can have the same certificate, if it names the hosts of all.`

func newTLS(a *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "tls", Short: "Make certificates to try TLS with"})
	cmd.AddCommand(newDevCert(a))
	return cmd
}

func newDevCert(a *app) *cobra.Command {
	var out string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "dev-cert",
		Short: "Make a CA and a certificate for development",
		Long:  devCertHelp,
		Example: `  gyre tls dev-cert
  gyre tls dev-cert --out /etc/gyre/tls --host events.internal --host 10.0.0.7`,
		Args: takes(0, 0),
		RunE: func(*cobra.Command, []string) error { return a.devCert(out, hosts) },
	}
	cmd.Flags().StringVar(&out, "out", "tls", "directory of the files, which is made; nothing in it is overwritten")
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "another name or IP address of the node (repeat)")
	return cmd
}

// devCert writes the files and says how to go on.
func (a *app) devCert(dir string, more []string) error {
	type made struct {
		CA      string    `json:"ca"`
		Cert    string    `json:"cert"`
		Key     string    `json:"key"`
		Hosts   []string  `json:"hosts"`
		Expires time.Time `json:"expires"`
	}
	m := made{
		filepath.Join(dir, certs.CAFile), filepath.Join(dir, certs.CertFile), filepath.Join(dir, certs.KeyFile),
		append([]string{"localhost", "127.0.0.1", "::1"}, more...), time.Now().Add(certs.Lifetime).UTC().Truncate(time.Second),
	}
	if err := certs.WriteNew(dir, m.Hosts...); err != nil {
		return err
	}
	return printOne(a, m, func(m made) string {
		return fmt.Sprintf(`Made %s, %s and %s
for %s, until %s. Go on with:

  %s serve --tls-cert %s --tls-key %s
  %s tail --server https://localhost:4973 --tls-ca %s`,
			m.CA, m.Cert, m.Key, strings.Join(m.Hosts, ", "), m.Expires.Format(time.DateOnly),
			a.program, m.Cert, m.Key, a.program, m.CA)
	})
}
