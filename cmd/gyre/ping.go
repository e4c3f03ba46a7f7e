package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const pingHelp = `Ask a node whether it takes calls, as its /readyz says. The exit code is 0 if a node of
--server is ready, else 6. It is a health check where there is no curl, as in a container.`

// maxReadiness is more than /readyz says.
const maxReadiness = 64 << 10

func newPing(a *app) *cobra.Command {
	return a.talks(&cobra.Command{
		Use:   "ping",
		Short: "Ask whether a node is ready",
		Long:  pingHelp,
		Example: `  gyre ping
  gyre ping --server :4973 --timeout 2s`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ping(cmd.Context()) },
	})
}

// ping asks one node after another until one is ready. The error has the reasons of all.
func (a *app) ping(ctx context.Context) error {
	type ready struct {
		URL string `json:"url"`
	}
	client, err := a.httpClient()
	if err != nil {
		return err
	}
	var reasons []string
	code := core.CodeUnavailable
	for server := range strings.SplitSeq(a.serverURL(), ",") {
		url := httpURL(strings.TrimSpace(server))
		err := a.askReady(ctx, client, url)
		if err == nil {
			return printOne(a, ready{url}, func(r ready) string { return r.URL + " is ready" })
		}
		switch {
		case errors.As(err, new(notReady)):
			code = core.CodeStarting
		case errors.Is(err, core.CodeTlsFailed) && code == core.CodeUnavailable:
			code = core.CodeTlsFailed
		}
		reasons = append(reasons, detailOf(err, core.AsError(err)))
	}
	err = core.Errorf(code, "%s", strings.Join(reasons, "; "))
	if code == core.CodeTlsFailed {
		return err // with its own advice
	}
	return &advised{err, "Wait if the node is starting. Otherwise mend the reason, or check that --server names the node."}
}

// reached returns why a request was not answered: as it is, but for failures of TLS.
func reached(url string, err error) error {
	if failed := sdk.Unreachable(url, err); failed.Code == core.CodeTlsFailed {
		return failed
	}
	return err
}

// notReady is what a node says that answers and is not ready.
type notReady string

func (e notReady) Error() string { return string(e) }

// askReady returns why a node is not ready.
func (a *app) askReady(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := a.request(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return reached(url, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxReadiness))
	if err != nil {
		return err
	}
	reasons := strings.TrimPrefix(strings.TrimSpace(string(text)), "not ready\n")
	return notReady(fmt.Sprintf("%s is not ready: %s", url, strings.ReplaceAll(reasons, "\n", "; ")))
}
