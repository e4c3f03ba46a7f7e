// Command orders shows a program that keeps its state as events: it places an
// order, pays it with the version it has seen, and follows what happens.
//
//	make run                  in one terminal
//	go run ./examples/orders  in another
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/sdk"
)

func main() {
	url := "localhost:4973"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	err := run(ctx, url)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string) error {
	client, err := sdk.Dial(ctx, url, sdk.Options{Name: "orders"})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()

	stream := "order-" + core.NewID().String()
	if err := place(ctx, client, stream, 10); err != nil {
		return err
	}
	if err := pay(ctx, client, stream); err != nil {
		return err
	}
	// Paying twice is refused by what the events say, not by luck.
	if err := pay(ctx, client, stream); err == nil {
		return errors.New("an order was paid twice")
	}
	return show(ctx, client, stream, 2)
}

// placed is the data of OrderPlaced.
type placed struct {
	Total int `json:"total"`
}

// place begins the stream of an order. NoStream refuses to begin it twice; the id
// makes it safe to send again when the answer was lost.
func place(ctx context.Context, log core.Log, stream string, total int) error {
	data, err := json.Marshal(placed{total})
	if err != nil {
		return err
	}
	_, err = log.Append(ctx, core.Commit{Appends: []core.Append{{
		Stream: stream, Expect: core.NoStream,
		Events: []core.NewEvent{{ID: core.NewID(), Type: "OrderPlaced", Data: data}},
	}}})
	return err
}

// pay reads the order, decides, and appends at the version that it decided on: when
// somebody else was faster the append is refused, and the decision is made again.
func pay(ctx context.Context, log core.Log, stream string) error {
	for {
		version, paid := uint64(0), false
		for e, err := range core.ReadAll(ctx, log, core.ReadRequest{Stream: stream}) {
			if err != nil {
				return err
			}
			version, paid = e.Version, paid || e.Type == "OrderPaid"
		}
		if paid {
			return fmt.Errorf("%s is paid already", stream)
		}
		_, err := log.Append(ctx, core.Commit{Appends: []core.Append{{
			Stream: stream, Expect: core.Expect(version),
			Events: []core.NewEvent{{ID: core.NewID(), Type: "OrderPaid", Data: []byte(`{}`)}},
		}}})
		if !errors.Is(err, core.CodeWrongExpectedVersion) {
			return err
		}
	}
}

// show follows the order from its start. A follow goes on for ever; this one stops
// after so many events.
func show(ctx context.Context, log core.Log, stream string, events int) error {
	for e, err := range core.FollowEvents(ctx, log, core.FollowRequest{Stream: stream}) {
		if err != nil {
			return err
		}
		fmt.Printf("%s@%d %s %s\n", e.Stream, e.Version, e.Type, e.Data)
		if events--; events == 0 {
			break
		}
	}
	return nil
}
