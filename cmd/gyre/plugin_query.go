package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk"
)

const queryHelp = `Have a plugin answer a query from its state. What the text means, and what the answer is, the
plugin says: gyre plugin info has its description. - reads the text from standard input. The query
runs in the node on an instance of its own, and changes nothing.`

func newPluginQuery(a *app) *cobra.Command {
	q := plugins.Query{Lane: plugins.OnlyLane}
	cmd := &cobra.Command{
		Use:   "query NAME [TEXT|-]",
		Short: "Have a plugin answer a query from its state",
		Long:  queryHelp,
		Example: `  gyre plugin query changes '{"n":3}'
  echo '{"prefix":"service/"}' | gyre plugin query changes -`,
		Args: takes(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				q.Text = []byte(args[1])
				if args[1] == "-" {
					text, err := io.ReadAll(io.LimitReader(a.stdin, abi.MaxQueryBytes+1))
					if err != nil {
						return core.Errorf(core.CodeInvalidRequest, "standard input: %w", err)
					}
					q.Text = text
				}
			}
			return a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) error {
				var answer plugins.Answer
				err := a.awaiting(ctx, client.Plugins(), args[0], q.AtLeast, func() (err error) {
					answer, err = client.Plugins().Query(ctx, args[0], q)
					return err
				})
				if errors.Is(err, core.CodePluginFailed) {
					return &advised{err, fmt.Sprintf("Correct the query if the detail is about it, else the plugin. What %s has stored is as it was.", cell(args[0], maxNameCell))}
				}
				if err != nil {
					return a.waited(err, args[0], q.AtLeast)
				}
				return a.printAnswer(&answer)
			})
		},
	}
	cmd.Flags().IntVar(&q.Lane, "lane", plugins.OnlyLane, "the lane whose state is asked (default the only one)")
	a.atLeast(cmd, &q.AtLeast)
	return a.completeBinding(a.talks(cmd))
}

// printAnswer prints what a plugin has answered alone, or with -o with its position.
func (a *app) printAnswer(answer *plugins.Answer) error {
	if a.output == asJSON || a.output == asNDJSON {
		return printOne(a, *answer, nil)
	}
	return a.printBytes(answer.Value)
}
