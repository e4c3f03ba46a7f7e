package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gyre-events/gyre/core/postgres"
)

const migrateHelp = `Show the schema of a store in PostgreSQL, and update it. gyre serve updates it at start, unless
--migrate=false. All missing migrations are applied in one transaction; nodes of the version
before keep working.

NEEDS is the migration that a node has to know to work with the schema after this one. A
migration that needs more than the one before is refused with nodes_outdated while an older node
has the store open. gyre migrate status lists the nodes.

Three optional indexes are for searches with SQL: correlation for correlation_id, type for
types, time for times. Each slows appends. The index links is for nodes that remove streams; they
build it themselves if they may. gyre migrate up --with-index builds indexes while nodes run;
nodes keep them.`

func newMigrate(a *app) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "migrate",
		Short: "Show and update the schema of a store in PostgreSQL",
		Long:  migrateHelp,
		Example: `  gyre migrate status --postgres postgres://gyre@db.internal/shop
  gyre migrate up --postgres postgres://gyre@db.internal/shop --store orders
  gyre migrate up --postgres postgres://gyre@db.internal/shop --with-index correlation,type
  gyre migrate sql --store orders | psql postgres://admin@db.internal/shop`,
	})
	cmd.AddCommand(newMigrateUp(a), newMigrateStatus(a), newMigrateSQL(a))
	return cmd
}

func newMigrateUp(a *app) *cobra.Command {
	var indexes []string
	cmd := a.withDatabase(&cobra.Command{
		Use:   "up",
		Short: "Apply the migrations that are missing",
		Long: `Apply the migrations that are missing, and make the store if it is not there. --with-index
makes indexes that are not there, too. On a large log that takes as long as it takes to read
it, whatever --postgres-timeout is, and appends go on meanwhile; if it is interrupted, say it
again.`,
	}, func(ctx context.Context, config postgres.Config, target postgres.Target) error {
		return a.migrateUp(ctx, config, target, indexes)
	})
	addWithIndex(cmd, &indexes)
	return cmd
}

func addWithIndex(cmd *cobra.Command, indexes *[]string) {
	cmd.Flags().StringSliceVar(indexes, "with-index", nil, "build these indexes: correlation, type, time, for searches with SQL; links, to remove streams")
}

func newMigrateStatus(a *app) *cobra.Command {
	return a.withDatabase(&cobra.Command{
		Use:   "status",
		Short: "List migrations and indexes, and whether they are applied, and the nodes",
	}, a.migrateStatus)
}

func newMigrateSQL(a *app) *cobra.Command {
	var store string
	var from int
	var indexes []string
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Print the SQL of the migrations, to apply it by hand",
		Long: `Print the SQL that makes a store, or brings it up to date, in one transaction, for someone who
wants to read it or to apply it as another user. It asks no database. --from is the newest
migration that is applied; gyre migrate status tells. The indexes of --with-index come after
the transaction.`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.output != "" {
				return usagef("gyre migrate status -o %s", a.output).because("SQL is printed as it is")
			}
			if err := a.settings(cmd); err != nil {
				return err
			}
			script, err := postgres.Script(store, from, indexes...)
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.stdout, script)
			return err
		},
	}
	cmd.Flags().StringVar(&store, "store", "", "name of the store, which is a schema of the database (default gyre)")
	cmd.Flags().IntVar(&from, "from", 0, "the store's present migration; 0 if there is no store")
	addWithIndex(cmd, &indexes)
	cmd.Flags().String("config", "", "YAML file with flags of gyre serve")
	return cmd
}

// withDatabase completes a command that works on a store's schema.
func (a *app) withDatabase(cmd *cobra.Command, run func(context.Context, postgres.Config, postgres.Target) error) *cobra.Command {
	var f databaseFlags
	f.register(cmd)
	cmd.Flags().DurationVar(&f.config.CallTimeout, "postgres-timeout", defaultCallTimeout, "timeout of the whole command")
	cmd.Flags().String("config", "", "YAML file with flags of gyre serve")
	cmd.Args = takes(0, 0)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		target, err := f.settle(a, cmd)
		if err != nil {
			return err
		}
		return adviseOnDatabase(run(cmd.Context(), f.config, target))
	}
	return cmd
}

// migration is one as it is printed.
type migration struct {
	Version int        `json:"version"`
	Name    string     `json:"name"`
	Needs   int        `json:"needs"`
	Applied *time.Time `json:"applied"`
}

// connectedNode is one as it is printed, after the indexes.
type connectedNode struct {
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Knows   int       `json:"knows"`
	Since   time.Time `json:"since"`
}

// index is one as it is printed, after the migrations.
type index struct {
	Index string              `json:"index"`
	State postgres.IndexState `json:"state"`
	Bytes int64               `json:"bytes"`
}

func (a *app) migrateUp(ctx context.Context, config postgres.Config, target postgres.Target, indexes []string) error {
	_, before, err := postgres.Status(ctx, config)
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, config, indexes...); err != nil {
		return err
	}
	list, now, err := postgres.Status(ctx, config)
	if err != nil {
		return err
	}
	if a.output == asJSON || a.output == asNDJSON {
		return a.printSchema(ctx, config, list)
	}
	said := "is up to date"
	if now > before {
		said = "was brought up to date"
	}
	if len(indexes) > 0 {
		said += ", with the index " + strings.Join(indexes, ", ")
	}
	_, err = fmt.Fprintf(a.stdout, "store %s of %s %s: it is at migration %d\n", target.Store, target, said, now)
	return err
}

func (a *app) migrateStatus(ctx context.Context, config postgres.Config, target postgres.Target) error {
	list, newest, err := postgres.Status(ctx, config)
	if err != nil {
		return err
	}
	if err := a.printSchema(ctx, config, list); err != nil {
		return err
	}
	switch {
	case newest > len(list):
		fmt.Fprintf(a.stderr, "Store %s is at migration %d, which a newer gyre made.\n", target.Store, newest)
		return postgres.CheckSchema(ctx, config)
	case newest < len(list):
		fmt.Fprintln(a.stderr, "gyre migrate up applies what is missing, and so does the next start of a node.")
	}
	return nil
}

// printSchema prints migrations, indexes and nodes: three tables, or one list.
func (a *app) printSchema(ctx context.Context, config postgres.Config, list []postgres.Migration) error {
	indexes, err := postgres.Indexes(ctx, config)
	if err != nil {
		return err
	}
	nodes, err := postgres.Nodes(ctx, config)
	if err != nil {
		return err
	}
	var items []any
	var migrations, there, open [][]string
	for _, m := range list {
		item := migration{Version: m.Version, Name: m.Name, Needs: m.Least}
		applied := "not yet"
		if !m.Applied.IsZero() {
			at := m.Applied.UTC()
			item.Applied, applied = &at, at.Format(time.RFC3339)
		}
		items = append(items, item)
		migrations = append(migrations, []string{strconv.Itoa(m.Version), m.Name, strconv.Itoa(m.Least), applied})
	}
	for _, x := range indexes {
		items = append(items, index{Index: x.Name, State: x.State, Bytes: x.Bytes})
		there = append(there, []string{x.Name, string(x.State), byteCount(x.Bytes)})
	}
	for _, n := range nodes {
		since := n.Since.UTC()
		items = append(items, connectedNode{Node: n.Name, Version: n.Version, Knows: n.Knows, Since: since})
		open = append(open, []string{n.Name, n.Version, strconv.Itoa(n.Knows), since.Format(time.RFC3339)})
	}
	if a.output == asJSON || a.output == asNDJSON {
		return printList(a, items, nil, nil)
	}
	asIs := func(row []string) []string { return row }
	if err := printList(a, migrations, []string{"version", "name", "needs", "applied"}, asIs); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	if err := printList(a, there, []string{"index", "state", "size"}, asIs); err != nil || len(open) == 0 {
		return err
	}
	fmt.Fprintln(a.stdout)
	return printList(a, open, []string{"node", "version", "knows", "since"}, asIs)
}
