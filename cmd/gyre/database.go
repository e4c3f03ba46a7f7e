package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/postgres"
)

// Defaults that help shows, and the engine has, too.
const (
	defaultReadConns   = 8
	defaultCallTimeout = 30 * time.Second
)

// databaseFlags are the flags of commands that use a PostgreSQL database.
type databaseFlags struct {
	config  postgres.Config
	migrate bool // of gyre serve
}

func (f *databaseFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.config.URL, "postgres", "", "URL of a PostgreSQL database to keep everything in (env GYRE_POSTGRES)")
	flags.StringVar(&f.config.Store, "store", "", "name of the store, which is a schema of the database (default gyre)")
}

// settle completes the flags of a command that needs a database.
func (f *databaseFlags) settle(a *app, cmd *cobra.Command) (postgres.Target, error) {
	if err := a.settings(cmd); err != nil {
		return postgres.Target{}, err
	}
	if f.config.URL == "" {
		return postgres.Target{}, &advised{
			core.Errorf(core.CodeInvalidConfig, "no PostgreSQL database is given"),
			cmd.CommandPath() + " --postgres postgres://USER@HOST/DATABASE, or GYRE_POSTGRES in the environment.",
		}
	}
	return f.config.Target()
}

// adviseOnDatabase gives an error advice for someone whose command begins with a
// database, where the catalogue's is for a node that runs.
func adviseOnDatabase(err error) error {
	switch {
	case errors.Is(err, core.CodeStoreReadOnly):
		return &advised{err, "Name the primary, or all servers: postgres://host1:5432,host2:5432/…; gyre doctor says why a server takes no writes."}
	case errors.Is(err, core.CodeTimeout):
		return &advised{err, "Check that PostgreSQL is what listens there, and that nothing on the way drops what is sent; --postgres-timeout waits longer."}
	case errors.Is(err, postgres.ErrUnfit):
		return &advised{err, "Name another server or database, or mend this one; gyre doctor says how."}
	}
	return err
}
