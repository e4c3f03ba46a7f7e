package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

const (
	defaultTimeout = 30 * time.Second
	// serverEarly is how much earlier a deadline may end at the server, which gets whole
	// milliseconds.
	serverEarly = sdk.ServerEarly + time.Millisecond
	// socketEarly is how much earlier a deadline may pass at a socket.
	socketEarly = 10 * time.Millisecond
	// completeTimeout bounds the wait after a Tab.
	completeTimeout = 300 * time.Millisecond
	completeNames   = 50
)

// talks adds the flags of a command that talks to a node.
func (a *app) talks(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&a.server, "server", "", "URL, host:port or :port of the node; of several nodes of a ring A,B,C (env GYRE_SERVER, default http://"+runtime.DefaultListen+")")
	cmd.Flags().StringVar(&a.tokenFile, "token-file", "", tokenFileHelp)
	cmd.Flags().DurationVar(&a.timeout, "timeout", defaultTimeout, "how long to wait for one answer")
	cmd.Flags().BoolVar(&a.compress, "compress", false, "compress events on their way, for slow networks")
	a.addTLS(cmd)
	if err := cmd.RegisterFlagCompletionFunc("server", cobra.NoFileCompletions); err != nil {
		panic(err) // there is such a flag
	}
	return cmd
}

// serverURL returns the address of the node, or several with commas between them.
func (a *app) serverURL() string {
	if a.server != "" {
		return a.server
	}
	if s := a.getenv("GYRE_SERVER"); s != "" {
		return s
	}
	return "http://" + runtime.DefaultListen
}

// withClient runs f with a connection to the node.
func (a *app) withClient(ctx context.Context, f func(*sdk.Client) error) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	err = f(client)
	if closeErr := client.Close(); err == nil {
		err = closeErr
	}
	return err
}

// dial connects to the node of --server.
func (a *app) dial(ctx context.Context) (*sdk.Client, error) {
	return a.dialTo(ctx, a.serverURL(), a.tokenFile)
}

// dialTo connects to a node with the key of a file, or with that of a.token if there is none.
func (a *app) dialTo(ctx context.Context, url, tokenFile string) (*sdk.Client, error) {
	token, err := a.token(tokenFile, url)
	if err != nil {
		return nil, err
	}
	secure, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.request(ctx)
	defer cancel()
	client, err := sdk.Dial(ctx, url, sdk.Options{Name: "gyre-cli", Version: version, Token: token, Compress: a.compress, TLS: secure, OnState: a.tellState()})
	switch {
	case err == nil:
		return client, nil
	case token == "" && errors.Is(err, core.CodeUnauthenticated):
		return nil, a.heldBack(url, err)
	}
	// The socket's own deadline may pass a moment before that of the context.
	var late net.Error
	by, _ := ctx.Deadline()
	switch {
	case strings.Contains(url, ","):
		if errors.Is(err, core.CodeUnavailable) && time.Until(by) <= socketEarly {
			err = core.Errorf(core.CodeTimeout, "no node answered within %s: %s", a.timeout, core.AsError(err).Detail)
		}
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout():
		err = core.Errorf(core.CodeTimeout, "%s did not answer within %s", url, a.timeout)
	}
	return nil, err
}

// tellState reports on stderr that the connection is lost, and that it is back, perhaps to
// another node: the client reconnects without end.
func (a *app) tellState() func(sdk.State) {
	at := "" // the node of the last connection; the client reports one state after another
	return func(s sdk.State) {
		switch {
		case a.quiet:
		case s.Err != nil && !a.lost.Swap(true):
			fmt.Fprintf(a.stderr, "Lost the connection (%s); trying again.\n", core.AsError(s.Err).Detail)
		case s.Connected:
			if again := a.lost.Swap(false); again && s.Address == at {
				fmt.Fprintln(a.stderr, "Connected again.")
			} else if again {
				fmt.Fprintf(a.stderr, "Connected again, to %s.\n", s.Address)
			}
			at = s.Address
		}
	}
}

// completeStream has the shell complete the first argument, a stream's name.
func (a *app) completeStream(cmd *cobra.Command) *cobra.Command { return a.completeStreamOf(cmd, nil) }

// completeStreamOf is completeStream with the streams of one state.
func (a *app) completeStreamOf(cmd *cobra.Command, state *core.StreamState) *cobra.Command {
	return completeFirst(cmd, cobra.ShellCompDirectiveDefault, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.completions(cmd, func(ctx context.Context, client *sdk.Client) (names []string, err error) {
			page, err := client.Streams(ctx, core.StreamsRequest{Prefix: prefix, State: state, Limit: completeNames, System: core.IsSystem(prefix)})
			for _, s := range page.Streams {
				names = append(names, s.Name)
			}
			return names, err
		})
	})
}

// completeFirst has the shell complete the first argument with names, and the others as then says.
func completeFirst(cmd *cobra.Command, then cobra.ShellCompDirective, names cobra.CompletionFunc) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, then
		}
		return names(cmd, args, prefix)
	}
	return cmd
}

// completions asks the node for what a shell offers. Without a node there is nothing, and no place
// for an error.
func (a *app) completions(cmd *cobra.Command, f func(context.Context, *sdk.Client) ([]string, error)) (list []string, _ cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	_ = a.ask(ctx, func(ctx context.Context, client *sdk.Client) (err error) {
		list, err = f(ctx, client)
		return err
	})
	return list, cobra.ShellCompDirectiveNoFileComp
}

// ask runs f with a client, within the timeout of one request.
func (a *app) ask(ctx context.Context, f func(context.Context, *sdk.Client) error) error {
	return a.withClient(ctx, func(client *sdk.Client) error {
		ctx, cancel := a.request(ctx)
		defer cancel()
		return a.late(ctx, f(ctx, client))
	})
}

// request bounds the wait for one answer.
func (a *app) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// appendOnce appends within the time of a request.
func (a *app) appendOnce(ctx context.Context, log core.Log, c core.Commit) (core.Result, error) {
	ctx, cancel := a.request(ctx)
	defer cancel()
	result, err := log.Append(ctx, c)
	return result, a.late(ctx, err)
}

// late marks an unknown outcome whose reason is the end of the request's time.
func (a *app) late(ctx context.Context, err error) error {
	if by, _ := ctx.Deadline(); errors.Is(err, core.CodeUnknownOutcome) && time.Until(by) <= serverEarly && !a.lost.Load() {
		return &lateError{err}
	}
	return err
}
