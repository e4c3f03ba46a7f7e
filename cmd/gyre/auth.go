package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
  operator       steers subscriptions, the ring and plugins; reads streams that match
  writer         appends to and reads streams that match; not $all
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

const authInitHelp = `Make the first key, an admin's, and save it for the commands of this user. It asks a node
on this machine, or with --data or --postgres the store itself, which no node may have open.

With --lost it makes another admin key, for who has the store and has lost the key.`

func newAuthInit(a *app) *cobra.Command {
	var at endFlags
	var data, postgres, note string
	var lost bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the first key, an admin's",
		Long:  authInitHelp,
		Example: `  gyre auth init
  gyre auth init --data ./data --lost
  gyre auth init --postgres postgres://gyre@db.internal/shop`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at.where = data
			if postgres != "" {
				at.where = postgres
			}
			switch {
			case data != "" && postgres != "":
				return usagef("%s --help", cmd.CommandPath()).because("--data and --postgres contradict each other")
			case at.where == "" && lost:
				return usagef("gyre auth init --lost --data ./data").because("--lost needs the store itself: --data or --postgres")
			}
			return a.authInit(cmd.Context(), at, note, lost)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&data, "data", "", "directory of the store, while no node has it open")
	flags.StringVar(&postgres, "postgres", "", "URL of the PostgreSQL database with the store, while no node has it open")
	flags.StringVar(&at.store, "store", "", "name of the store in the database (default gyre)")
	flags.BoolVar(&lost, "lost", false, "make another admin key, whatever keys there are")
	flags.StringVar(&note, "note", "", "what the key is for")
	return a.talks(cmd)
}

// authInit makes the first key.
func (a *app) authInit(ctx context.Context, at endFlags, note string, lost bool) error {
	var made keys.Key
	var token string
	do := func(ctx context.Context, k interface {
		Init(ctx context.Context, note string) (keys.Key, string, error)
	}) (err error) {
		made, token, err = k.Init(ctx, note)
		return err
	}
	var err error
	if at.where == "" {
		a.quiet = true // the node ends the connection of who has no key
		err = a.withClient(ctx, func(client *sdk.Client) error {
			ctx, cancel := a.request(ctx)
			defer cancel()
			return do(ctx, client.Keys())
		})
	} else {
		err = a.withStoreKeys(ctx, at, func(k *keys.Keys) (err error) {
			if !lost {
				return do(ctx, k)
			}
			made, token, err = k.Recover(ctx, note)
			return err
		})
	}
	if errors.Is(err, core.CodeKeysExist) && at.where != "" {
		return &advised{err, "Make further keys with gyre auth key create. If no admin key is left, say --lost."}
	}
	if err != nil {
		return err
	}
	return a.showInit(made, token)
}

// withStoreKeys opens a store for f.
func (a *app) withStoreKeys(ctx context.Context, at endFlags, f func(*keys.Keys) error) error {
	end, err := a.openEnd(ctx, at, "the store")
	if err != nil {
		return err
	}
	defer func() { _ = end.close() }() // what was committed is safe
	store, ok := end.wholeLog.(keys.Store)
	if !ok {
		return usagef("gyre auth init asks a node").because("%s is not a store", at.where)
	}
	k, err := keys.New(ctx, keys.Config{Store: store, Node: copyID()})
	if err != nil {
		return err
	}
	defer k.Close()
	return f(k)
}

// shownKey is a key with its token, as it is printed once.
type shownKey struct {
	keys.Key
	Token string `json:"token,omitempty"`
	File  string `json:"file,omitempty"` // that the token was saved to
}

func (a *app) showInit(made keys.Key, token string) error {
	shown := shownKey{Key: made, Token: token}
	path, err := tokenPath()
	if err == nil {
		if err = saveToken(path, token); err == nil {
			shown.File = path
		}
	}
	return printOne(a, shown, func(s shownKey) string {
		text := "This is the admin key " + s.ID + ". It is not shown again:\n\n  " + s.Token + "\n\n"
		switch {
		case err == nil:
			text += "It is saved in " + s.File + ", where gyre finds it."
		case errors.Is(err, fs.ErrExist):
			text += "It is not saved: " + path + " is there. Give it with --token-file, or in GYRE_TOKEN."
		default:
			text += "It could not be saved: " + err.Error() + ". Give it with --token-file, or in GYRE_TOKEN."
		}
		return text + "\nFrom now on the store takes nobody without a key; gyre auth key create makes more."
	})
}

// tokenPath is where gyre finds the key of its user.
func tokenPath() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "gyre", "token"), err
}

// saveToken writes a token to a file that is not there, for its user only.
func saveToken(path, token string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(token + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path) // it has no key, or a part of one
	}
	return err
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
			if _, err := os.Lstat(out); out != "" && err == nil {
				return usagef("name another file").because("%s is there already", out)
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

func (a *app) createKey(ctx context.Context, want keys.Key, out string) error {
	return a.withClient(ctx, func(client *sdk.Client) error {
		ctx, cancel := a.request(ctx)
		defer cancel()
		made, token, err := client.Keys().Create(ctx, want)
		if err != nil {
			return err
		}
		shown := shownKey{Key: made, Token: token}
		if out != "" {
			if err := saveToken(out, token); err != nil {
				// Nobody has it, so nobody should be able to use it.
				return errors.Join(core.Errorf(core.CodeInternal, "the key could not be written: %w", err), client.Keys().Revoke(ctx, made.ID))
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
			if err := saveToken(out, token); errors.Is(err, fs.ErrExist) {
				return usagef("name another file").because("%s is there already", out)
			} else if err != nil {
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
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				ctx, cancel := a.request(cmd.Context())
				defer cancel()
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
			return a.withClient(cmd.Context(), func(client *sdk.Client) error {
				ctx, cancel := a.request(cmd.Context())
				defer cancel()
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
	err = a.withClient(ctx, func(client *sdk.Client) (err error) {
		ctx, cancel := a.request(ctx)
		defer cancel()
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
