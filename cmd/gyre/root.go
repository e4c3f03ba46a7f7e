package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// app is what every command has at hand.
type app struct {
	program        string // how it was called, for commands to copy
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	output    outputFormat      // -o; "" is the command's own default
	server    string            // --server
	tokenFile string            // --token-file
	timeout   time.Duration     // --timeout, of one request
	compress  bool              // --compress
	tls       clientTLS         // --tls-ca and its like
	origins   map[string]origin // of settings, by the names of flags
	lost      atomic.Bool       // the connection to the node, for now
	quiet     bool              // nothing is said of a connection that is lost
}

const rootHelp = `Gyre is an event store: applications append events to streams and read them back,
and followers get every event, in order.

  gyre serve                                     run a node on 127.0.0.1:4973
  gyre append order-1 OrderPlaced '{"total":10}' append an event to a stream
  gyre read order-1                              read it back
  gyre tail                                      watch events as they come
  gyre subscribe billing --exec ./bill.sh        run a command for each, until it succeeds

Commands take the node's address from --server or GYRE_SERVER. With the addresses of several
nodes of a ring, A,B,C, they go to the next one when a node is gone. https:// is for a node that
serves TLS; --tls-ca or GYRE_TLS_CA has the CA of its certificate.

The key is that of --token-file, else GYRE_TOKEN, else the file gyre/token of your configuration
directory (~/.config) if it is there. A file must be yours, or root's, and nobody else may read
it: chmod 600. No flag takes a key itself, which other processes would see.

Exit codes: 0 ok · 1 other error · 2 usage · 3 not found · 4 conflict · 5 denied ·
6 unavailable · 7 timeout · 8 not clean (verify, doctor) · 130 interrupted.

An append with code unknown_outcome may have been written: repeat it with the same --id, and
it is written once. It exits with 7 after --timeout, with 130 after an interrupt, and with 6
if the connection was lost or the node does not know.

stdout is data, everything else goes to stderr. -o json prints one JSON value, -o ndjson one
object a line. With either, an error is one JSON object, the last line of stderr, with the
fields of the HTTP API's problems (code, detail, fix, …).`

func newRoot(a *app) *cobra.Command {
	root := group(&cobra.Command{
		Use:           "gyre",
		Short:         "An event store, and the tool to talk to it",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		a.output = outputOf(a.args) // it may stand behind what is wrong
		try := cmd.CommandPath() + " --help"
		if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "" {
			try += fmt.Sprintf(", or write -- before the arguments: %s … -- … -%s", cmd.CommandPath(), unknown.GetSpecifiedShortnames())
		}
		return usagef("%s", try).because("%s", flagProblem(err))
	})
	root.PersistentFlags().VarP(&a.output, "output", "o", "how to print: table, json or ndjson")
	root.AddCommand(
		newServe(a), newAppend(a), newLink(a), newRead(a), newTail(a), newStreams(a), newTypes(a), newCategories(a), newProgress(a), newSnapshot(a),
		newSubscribe(a), newSubscriptions(a), newPlugin(a), newCluster(a), newAuth(a),
		newImport(a), newExport(a), newCopy(a), newMigrate(a), newVerify(a), newBackup(a), newRestore(a), newScavenge(a), newBench(a),
		newDoctor(a), newPing(a), newStats(a), newConfig(a), newTLS(a), newExplain(a), newVersion(a), newPluginCompile(a),
	)
	root.InitDefaultCompletionCmd()
	return root
}

// flagProblem says what is wrong with a flag. Of a number the parser's error would name the parser.
func flagProblem(err error) string {
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	if !errors.As(err, &invalid) || !errors.As(err, &number) {
		return err.Error()
	}
	what := "it is not a whole number"
	switch kind := invalid.GetFlag().Value.Type(); {
	case errors.Is(number, strconv.ErrRange):
		what = "it is out of range"
	case kind == "bool":
		what = "it is neither true nor false"
	case strings.HasPrefix(kind, "uint"):
		what = "it is not a whole number from 0 on"
	case strings.HasPrefix(kind, "float"):
		what = "it is not a number"
	}
	return strings.TrimSuffix(err.Error(), number.Error()) + what
}

// group makes cmd one that only has commands below it: alone it prints its help,
// and with a word that is none of them it says so.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		try := cmd.CommandPath() + " --help"
		if len(args[0]) < 3 {
			cmd.SuggestionsMinimumDistance = 1 // every short name is near to it
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			for i := range near {
				near[i] = cmd.CommandPath() + " " + near[i]
			}
			try = strings.Join(near, ", or ")
		}
		return usagef("%s", try).because("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return cmd
}

// takes checks the number of arguments; usage names them as the help does.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		what := fmt.Sprintf("%d arguments do not go with", len(args))
		switch {
		case len(args) < least:
			what = "an argument is missing of"
		case len(args) == 1:
			what = "1 argument does not go with"
		}
		return usagef("%s --help", cmd.CommandPath()).because("%s %q", what, cmd.UseLine())
	}
}

// isTerminal reports whether a person sees w.
func isTerminal(w any) bool {
	if _, ok := w.(*screen); ok {
		return true
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
