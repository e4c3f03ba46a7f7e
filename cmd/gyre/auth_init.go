package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/runtime"
	"github.com/gyre-events/gyre/sdk"
)

const authInitHelp = `Make the first key, an admin's, and save it for the commands of this user. It asks a node
on this machine, or with --data or --postgres the store itself, which no node may have open.
gyre serve makes a store; this command does not.

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
		err = a.ask(ctx, func(ctx context.Context, client *sdk.Client) error {
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
	switch {
	case errors.Is(err, core.CodeUnauthenticated) && at.where == "": // before it could ask for the first key
		return core.Errorf(core.CodeKeysExist, "the store has keys already")
	case errors.Is(err, core.CodeKeysExist) && at.where != "":
		return &advised{err, "Make further keys with gyre auth key create. If no admin key is left, say --lost."}
	}
	if err != nil {
		return err
	}
	return a.showInit(made, token)
}

// withStoreKeys opens a store for f.
func (a *app) withStoreKeys(ctx context.Context, at endFlags, f func(*keys.Keys) error) error {
	at.isThere = true // a typing error would make another store
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
	_, absent := os.Lstat(path)
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
		case absent == nil:
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

// tokenFile is a new file for a token.
type tokenFile struct {
	file  *os.File
	saved bool
}

// newTokenFile makes a file that is not there, for its user only.
func newTokenFile(path string) (*tokenFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, usagef("name another file").because("%s is there already", path)
	case err != nil:
		return nil, &advised{
			core.Errorf(core.CodeInvalidConfig, "the key cannot be written: %w", err),
			"Name a new file in a directory that is there and that you may write; no key was made.",
		}
	}
	return &tokenFile{file: f}, nil
}

// save writes the token.
func (t *tokenFile) save(token string) error {
	_, err := t.file.WriteString(token + "\n")
	err = errors.Join(err, t.file.Sync())
	t.saved = err == nil
	return err
}

// close closes the file, and removes it unless the token is in it.
func (t *tokenFile) close() {
	_ = t.file.Close() // it is synced
	if !t.saved {
		_ = os.Remove(t.file.Name())
	}
}

// saveToken writes a token to a file that is not there, and makes its directory.
func saveToken(path, token string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := newTokenFile(path)
	if err != nil {
		return err
	}
	defer f.close()
	return f.save(token)
}

// adviseOnFirstKey says how the store of a node gets the first key, without which the node does
// not serve.
func adviseOnFirstKey(f serveFlags) string {
	byFile := "--admin-key-file FILE, with a key that gyre auth key new --out FILE makes."
	engine, at := f.node.Engine, f.node.Data
	switch {
	case engine == runtime.EngineMemory:
		return "Give the node the first key: " + byFile
	case f.node.Postgres.URL != "":
		at = "--postgres URL"
		if store := f.node.Postgres.Store; store != "" {
			at += " --store " + store
		}
	default:
		at = "--data " + at
	}
	return "Make the first key: gyre auth init " + at + ". Or give it to the node: " + byFile
}
