package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/access"
	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

const authHelp = `Keys say who may do what. A store without keys takes everybody. The first one is an admin's;
from then on, who has no key may do nothing.

  gyre auth init                                          the first key, saved for your commands
  gyre auth key create --role writer --streams 'order-*' --out w.key
  gyre auth can-i append order-1 --token-file w.key
  gyre auth key new --out admin.key                       the first key, for gyre serve --admin-key-file

Roles:
  admin          everything, keys and the streams of the system included
  operator       steers subscriptions, the ring and plugins; reads streams that match,
                 deletes them, and removes their events
  writer         appends to, reads, deletes and undeletes streams that match; not $all
  reader         reads streams that match, and $all, where the others are passed over
  plugin-author  uploads plugins, and deploys them within its own patterns

Patterns are names of streams in which * stands for anything. $all is every stream.`

func newAuth(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "auth",
		Short: "Make and revoke keys, and ask what a key may do",
		Long:  authHelp,
	})
	key := group(&cobra.Command{Use: "key", Short: "Make, list and revoke keys"})
	key.AddCommand(newKeyCreate(a), newKeyNew(a), newKeyLs(a), newKeyRevoke(a))
	cmd.AddCommand(newAuthInit(a), key, newCanI(a), newWhoAmI(a))
	return cmd
}

func newKeyCreate(a *app) *cobra.Command {
	var role, expires, out string
	var want keys.Key
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a key",
		Long: `Make a key and print it: nobody can see it again. With --out it is written to a file that
only its user can read, and not printed.`,
		Example: `  gyre auth key create --role writer --streams 'order-*' --note shop --out shop.key
  gyre auth key create --role reader --streams '$all' --expires 720h
  gyre auth key create --role admin`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if want.Role, err = access.ParseRole(role); err != nil {
				return usagef("--role writer").because("%s", core.AsError(err).Detail)
			}
			if want.Expires, err = expiry(expires, time.Now()); err != nil {
				return err
			}
			return a.createKey(cmd.Context(), want, out)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&role, "role", "", "admin, operator, writer, reader or plugin-author")
	flags.StringSliceVar(&want.Streams, "streams", nil, "patterns of the streams that it may use, such as 'order-*' or '$all'")
	flags.StringSliceVar(&want.Names, "names", nil, "patterns of the subscriptions, progress, plugins and bindings that it may use and change (default all; '' is none)")
	flags.StringVar(&want.Note, "note", "", "what the key is for")
	flags.StringVar(&expires, "expires", "", "how long it works, such as 720h, or until when (default for ever)")
	flags.StringVar(&out, "out", "", "file to write the key to, instead of printing it")
	complete(cmd, "role", "admin", "operator", "writer", "reader", "plugin-author")
	return a.talks(cmd)
}

// complete has the shell complete the values of a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is such a flag
	}
}

// expiry reads a duration from now on, or a time.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usagef("--expires 720h, or --expires 2027-01-31T00:00:00Z").because("%q is neither a duration nor a time", text)
	}
	return t, nil
}

// createKey makes a key, after the file that it is to be in: nobody can see it again.
func (a *app) createKey(ctx context.Context, want keys.Key, out string) error {
	var file *tokenFile
	if out != "" {
		var err error
		if file, err = newTokenFile(out); err != nil {
			return err
		}
		defer file.close()
	}
	return a.ask(ctx, func(ctx context.Context, client *sdk.Client) error {
		made, token, err := client.Keys().Create(ctx, want)
		if err != nil {
			return err
		}
		shown := shownKey{Key: made, Token: token}
		if file != nil {
			if err := file.save(token); err != nil {
				// Nobody has it, so nobody should be able to use it.
				return &advised{
					core.Errorf(core.CodeInvalidConfig, "the key could not be written: %w", errors.Join(err, client.Keys().Revoke(ctx, made.ID))),
					"Name a file on a disk with room; the key was revoked unless the error says why not.",
				}
			}
			shown.Token, shown.File = "", out
		}
		return printOne(a, shown, func(s shownKey) string {
			if s.File != "" {
				return "made key " + s.ID + ", in " + s.File
			}
			return "made key " + s.ID + ". It is not shown again:\n\n  " + s.Token
		})
	})
}

func newKeyNew(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a key that no store knows, for gyre serve --admin-key-file",
		Long: `Make a key that no store knows yet, and print it. A node that gets it by
gyre serve --admin-key-file has a store without keys take it as its first, an admin's. It asks no
node.`,
		Example: `  gyre auth key new --out admin.key
  gyre serve --admin-key-file admin.key`,
		Args: takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			token := keys.NewToken()
			if out == "" {
				_, err := fmt.Fprintln(a.stdout, token)
				return err
			}
			file, err := newTokenFile(out)
			if err != nil {
				return err
			}
			defer file.close()
			if err := file.save(token); err != nil {
				return core.Errorf(core.CodeInvalidConfig, "the key could not be written: %w", err)
			}
			fmt.Fprintf(a.stderr, "made a key, in %s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write the key to, instead of printing it")
	return cmd
}

func newKeyLs(a *app) *cobra.Command {
	return a.talks(&cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List keys",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) error {
				list, err := client.Keys().List(ctx)
				if err != nil {
					return err
				}
				return printList(a, list, []string{"id", "role", "streams", "expires", "note"}, func(k keys.Key) []string {
					expires := "never"
					if !k.Expires.IsZero() {
						expires = k.Expires.UTC().Format(time.RFC3339)
						if !k.Expires.After(time.Now()) {
							expires += " (over)"
						}
					}
					return []string{k.ID, string(k.Role), cell(strings.Join(k.Streams, " "), 40), expires, cell(k.Note, 40)}
				})
			})
		},
	})
}

func newKeyRevoke(a *app) *cobra.Command {
	return a.talks(&cobra.Command{
		Use:     "revoke ID",
		Aliases: []string{"rm"},
		Short:   "End a key at once, with everything that is open for it",
		Args:    takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), func(ctx context.Context, client *sdk.Client) error {
				if err := client.Keys().Revoke(ctx, args[0]); err != nil {
					return err
				}
				return printOne(a, map[string]string{"revoked": args[0]}, func(map[string]string) string { return "revoked key " + args[0] })
			})
		},
	})
}

func newCanI(a *app) *cobra.Command {
	actions := access.Actions()
	names := make([]string, len(actions))
	for i := range actions {
		names[i] = string(actions[i])
	}
	var q sdk.Question
	cmd := &cobra.Command{
		Use:   "can-i ACTION [TARGET]",
		Short: "Ask whether a key may do something",
		Long: `Ask whether a key may do something. It exits with 0 if it may, and with 5 if it may not.

TARGET is what it is done to; without it the question is whether the key may do it at all:

` + targetsHelp(actions) + `
To consume a named subscription, a key needs the stream and the name: say both.`,
		Example: `  gyre auth can-i append order-1 --token-file shop.key
  gyre auth can-i consume 'order-1' --subscription mailer
  gyre auth can-i plugins.deploy totals
  gyre auth can-i keys.manage`,
		Args:              takes(1, 2),
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Action = access.Action(args[0])
			if len(args) > 1 {
				q.Target = args[1]
			}
			return a.canI(cmd.Context(), q)
		},
	}
	cmd.Flags().StringVar(&q.Subscription, "subscription", "", "name of the subscription to consume")
	return a.talks(cmd)
}

// targetsHelp lists actions by what their target is.
func targetsHelp(actions []access.Action) string {
	var b strings.Builder
	for _, kind := range []access.Target{access.Stream, access.Name, access.Nothing} {
		var names []string
		for _, a := range actions {
			if a.Target() == kind {
				names = append(names, string(a))
			}
		}
		fmt.Fprintf(&b, "  %-8s of %s\n", kind, strings.Join(names, ", "))
	}
	return b.String()
}

func (a *app) canI(ctx context.Context, q sdk.Question) error {
	p, err := a.principal(ctx, q)
	if err != nil {
		return err
	}
	if p.Allowed == nil || !*p.Allowed {
		return core.Errorf(core.CodeForbidden, "%s", p.Why)
	}
	return printOne(a, p, func(p sdk.Principal) string { return fmt.Sprintf("yes: %s %s may", p.Role, p.Name) })
}

func (a *app) principal(ctx context.Context, q sdk.Question) (p sdk.Principal, err error) {
	err = a.ask(ctx, func(ctx context.Context, client *sdk.Client) (err error) {
		p, err = client.Keys().Principal(ctx, q)
		return err
	})
	return p, err
}

func newWhoAmI(a *app) *cobra.Command {
	return a.talks(&cobra.Command{
		Use:   "whoami",
		Short: "Show whose key it is, and what it is granted",
		Args:  takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.principal(cmd.Context(), sdk.Question{})
			if err != nil {
				return err
			}
			return printOne(a, p, func(p sdk.Principal) string {
				var b strings.Builder
				fmt.Fprintf(&b, "name     %s\nrole     %s", p.Name, p.Role)
				if len(p.Streams) > 0 {
					fmt.Fprintf(&b, "\nstreams  %s", strings.Join(p.Streams, " "))
				}
				if p.Names != nil {
					fmt.Fprintf(&b, "\nnames    %s", cmp.Or(strings.Join(p.Names, " "), "none"))
				}
				if !p.Expires.IsZero() {
					fmt.Fprintf(&b, "\nexpires  %s", p.Expires.UTC().Format(time.RFC3339))
				}
				return b.String()
			})
		},
	})
}
