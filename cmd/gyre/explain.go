package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
)

// explained is a code of the catalogue as it is printed.
type explained struct {
	Code      core.Code `json:"code"`
	Title     string    `json:"title"`
	Fix       string    `json:"fix"`
	Status    int       `json:"status"`
	Exit      int       `json:"exit"`
	Retryable bool      `json:"retryable"`
}

func newExplain(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [CODE]",
		Short: "Explain an error code, or list all codes",
		Example: `  gyre explain wrong_expected_version
  gyre explain -o json`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return a.explain(args[0])
			}
			var all []explained
			for _, c := range core.Codes() {
				all = append(all, explanation(c))
			}
			return printList(a, all, []string{"code", "exit", "meaning"}, func(e explained) []string {
				return []string{string(e.Code), fmt.Sprint(e.Exit), e.Title}
			})
		},
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return codeNames(), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

func (a *app) explain(name string) error {
	code := core.Code(strings.ReplaceAll(strings.ToLower(name), "-", "_"))
	if !code.Known() {
		try := "gyre explain"
		if near := nearest(string(code), codeNames()); near != "" {
			try = "gyre explain " + near
		}
		return usagef("%s", try).because("%q is not an error code", name)
	}
	return printOne(a, explanation(code), func(e explained) string {
		again := "no"
		if e.Retryable {
			again = "yes, the same request may succeed later"
		}
		return fmt.Sprintf("%s\n  %s.\n\n  What to do    %s\n  Try again?    %s\n  HTTP status   %d\n  Exit code     %d",
			e.Code, e.Title, e.Fix, again, e.Status, e.Exit)
	})
}

func explanation(c core.Code) explained {
	i := c.Info()
	return explained{Code: c, Title: i.Title, Fix: i.Fix, Status: i.Status, Exit: exitCodes[i.Class], Retryable: i.Retryable}
}

func codeNames() []string {
	var names []string
	for _, c := range core.Codes() {
		names = append(names, string(c))
	}
	return names
}
