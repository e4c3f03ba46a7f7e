//go:build unix

// Command run is make cluster: a ring of three nodes on this machine to play with, over a
// PostgreSQL of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/gyre-events/gyre/internal/localring"
	"github.com/gyre-events/gyre/internal/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "make cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	config := localring.Config{
		Gyre: "bin/gyre", Dir: "build/cluster",
		Listen: []string{"127.0.0.1:4973", "127.0.0.1:4974", "127.0.0.1:4975"},
		Gossip: []string{"127.0.0.1:7946", "127.0.0.1:7947", "127.0.0.1:7948"},
	}
	for _, address := range append(config.Listen, config.Gossip...) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("%w; another node or ring may run", err)
		}
		_ = l.Close()
	}
	fmt.Println("Starting PostgreSQL and three nodes.")
	database, err := pgtest.New("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	config.Postgres = database.URL
	ring, err := localring.Start(ctx, config)
	if err != nil {
		return err
	}
	fmt.Print(ring.Words())
	watch(ctx, ring)
	fmt.Println("Stopping.")
	return ring.Close()
}

// watch reports nodes that end, until ctx does.
func watch(ctx context.Context, ring *localring.Ring) {
	var watching sync.WaitGroup
	for _, n := range ring.Nodes {
		watching.Go(func() {
			select {
			case <-ctx.Done():
			case <-n.Ended():
				fmt.Printf("%s has ended (%s). To start it again, where URL is set:\n  %s\n", n.Name, n.State(), ring.Command(n))
			}
		})
	}
	watching.Wait()
	<-ctx.Done()
}
