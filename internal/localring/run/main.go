//go:build unix

// Command run is make cluster: the ring of three nodes of examples/cluster, over a PostgreSQL of
// its own. It is make database, too: that PostgreSQL alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"go.yaml.in/yaml/v3"

	"github.com/gyre-events/gyre/internal/localring"
	"github.com/gyre-events/gyre/internal/pgtest"
)

// files are those of the three nodes.
var files = []string{"examples/cluster/node1.yaml", "examples/cluster/node2.yaml", "examples/cluster/node3.yaml"}

func main() {
	alone := flag.Bool("database", false, "run PostgreSQL alone, as make database does")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *alone)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "make cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, alone bool) (err error) {
	config, port, err := read(files)
	if err != nil {
		return err
	}
	config.Gyre, config.Dir = "bin/gyre", "build/cluster"
	addresses := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if !alone {
		addresses = slices.Concat(addresses, config.Listen, config.Gossip)
	}
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("%w; another node, ring or database may run", err)
		}
		_ = l.Close()
	}
	fmt.Println("Starting PostgreSQL.")
	database, err := pgtest.NewAt("", port)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	if alone {
		fmt.Printf("%s\nCtrl-C ends the database and removes all that it has.\n", database.URL)
		<-ctx.Done()
		return nil
	}
	fmt.Println("Starting three nodes.")
	ring, err := localring.Start(ctx, config)
	if err != nil {
		return err
	}
	fmt.Print(ring.Words())
	watch(ctx, ring)
	fmt.Println("Stopping.")
	return ring.Close()
}

// read returns the ring that the files of its nodes describe, and the port of its PostgreSQL.
func read(files []string) (config localring.Config, port int, err error) {
	config.Files = files
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return config, 0, err
		}
		var node struct{ Listen, Gossip, Postgres string }
		if err := yaml.Unmarshal(text, &node); err != nil {
			return config, 0, fmt.Errorf("%s: %w", file, err)
		}
		config.Listen, config.Gossip, config.Postgres = append(config.Listen, node.Listen), append(config.Gossip, node.Gossip), node.Postgres
	}
	database, err := url.Parse(config.Postgres)
	if err != nil {
		return config, 0, err
	}
	port, err = strconv.Atoi(database.Port())
	return config, port, err
}

// watch reports nodes that end, until ctx does.
func watch(ctx context.Context, ring *localring.Ring) {
	var watching sync.WaitGroup
	for _, n := range ring.Nodes {
		watching.Go(func() {
			select {
			case <-ctx.Done():
			case <-n.Ended():
				fmt.Printf("%s has ended (%s). To start it again:\n  %s\n", n.Name, n.State(), ring.Command(n))
			}
		})
	}
	watching.Wait()
	<-ctx.Done()
}
