//go:build unix

// Command run is make cluster: the ring of three nodes of examples/cluster, over a PostgreSQL of
// its own. It is make database, too: that PostgreSQL alone. Tests in other languages run it with
// -free. The exit code is 3 if the machine has no PostgreSQL.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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

const noPostgres = 3 // exit code

func main() {
	alone := flag.Bool("database", false, "run PostgreSQL alone, as make database does")
	free := flag.Bool("free", false, "run all of it on free ports, without the files of examples/cluster, until the standard input ends")
	gyre := flag.String("gyre", "bin/gyre", "the program of the nodes")
	dir := flag.String("dir", "build/cluster", "the folder of their logs")
	flag.Parse()
	signal.Ignore(syscall.SIGPIPE) // the nodes are ended even if nobody reads what is said
	ctx, cancel := context.WithCancel(context.Background())
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	if *free {
		go func() { // to the end of the process
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel() // whoever has started the ring is gone
		}()
	}
	config, port, err := plan(*free)
	if err == nil {
		config.Gyre, config.Dir = *gyre, *dir
		err = run(ctx, config, port, *alone)
	}
	stop()
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "make cluster:", err)
	}
	switch {
	case errors.Is(err, pgtest.ErrMissing):
		os.Exit(noPostgres)
	case err != nil:
		os.Exit(1)
	}
}

func plan(free bool) (config localring.Config, port int, err error) {
	if free {
		return unused()
	}
	return read(files)
}

// unused returns a ring on free ports. Its PostgreSQL takes one, too.
func unused() (config localring.Config, port int, err error) {
	var list []string
	for range 6 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return config, 0, err
		}
		defer func() { _ = l.Close() }() // when all are chosen: no two are the same
		list = append(list, l.Addr().String())
	}
	config.Listen, config.Gossip = list[:3], list[3:]
	return config, 0, nil
}

func run(ctx context.Context, config localring.Config, port int, alone bool) (err error) {
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
	config.Postgres = cmp.Or(config.Postgres, database.URL)
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
