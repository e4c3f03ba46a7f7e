package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/memory"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/sdk"
	"github.com/gyre-events/gyre/wsapi"
)

func Example() {
	// A node of our own; yours is somewhere else.
	store := core.NewStore(memory.New(), core.StoreConfig{})
	defer store.Close()
	api, err := wsapi.New(wsapi.Config{Store: store})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(api)
	defer server.Close()
	ctx := context.Background()
	defer api.Close(ctx)

	client, err := sdk.Dial(ctx, server.URL, sdk.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	result, err := client.AppendTo(ctx, "order-42", core.NoStream,
		core.NewEvent{Type: "OrderPlaced", Data: []byte(`{"total":10}`)},
		core.NewEvent{Type: "OrderPaid", Data: []byte(`{"amount":10}`)})
	fmt.Println(result.Appends[0].LastVersion, err)

	for event, err := range core.FollowEvents(ctx, client, core.FollowRequest{Stream: "order-42"}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(event.Version, event.Type, string(event.Data))
		if event.Version == result.Appends[0].LastVersion {
			break // it would wait for what comes
		}
	}
	// Output:
	// 2 <nil>
	// 1 OrderPlaced {"total":10}
	// 2 OrderPaid {"amount":10}
}

func ExampleClient_Subscribe() {
	url, end := exampleNode()
	defer end()
	ctx := context.Background()
	client, err := sdk.Dial(ctx, url, sdk.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	if _, err = client.Append(ctx, orders()); err != nil {
		panic(err)
	}

	// The subscription is created by who comes first, and begins with the first event.
	sub, err := client.Subscribe(ctx, "billing", sdk.SubscribeOptions{})
	if err != nil {
		panic(err)
	}
	defer sub.Close(ctx)
	for d, err := range sub.Events(ctx) {
		if err != nil {
			panic(err)
		}
		fmt.Println(d.Position, d.Type, "attempt", d.Attempt)
		if err := d.Ack(); err != nil {
			panic(err)
		}
		if d.Position == 2 {
			break // it would wait for what comes
		}
	}
	// Output:
	// 1 OrderPlaced attempt 1
	// 2 OrderPaid attempt 1
}

func ExampleSubscriber_Consume() {
	url, end := exampleNode()
	defer end()
	ctx, stop := context.WithCancel(context.Background())
	client, err := sdk.Dial(ctx, url, sdk.Options{})
	if err != nil {
		panic(err)
	}
	defer client.Close()
	if _, err = client.Append(ctx, orders()); err != nil {
		panic(err)
	}

	// Events of one stream are handled one after another, whatever the workers.
	d := subscriptions.DefaultDefinition()
	d.PartitionBy = subscriptions.ByStream
	sub, err := client.Subscribe(ctx, "invoices", sdk.SubscribeOptions{Definition: &d, Workers: 4})
	if err != nil {
		panic(err)
	}
	err = sub.Consume(ctx, func(_ context.Context, d sdk.Delivery) error {
		if d.Type == "OrderPlaced" {
			fmt.Println("parking", d.Type)
			return &sdk.Refusal{Action: delivery.ActionPark, Reason: "there is no customer 42"}
		}
		fmt.Println("handling", d.Type)
		stop() // it would wait for what comes
		return nil
	})
	fmt.Println(errors.Is(err, core.CodeCanceled), sub.Close(context.Background()))
	// Output:
	// parking OrderPlaced
	// handling OrderPaid
	// true <nil>
}

// exampleNode is a node of our own; yours is somewhere else.
func exampleNode() (url string, end func()) {
	store := core.NewStore(memory.New(), core.StoreConfig{})
	owner, err := subscriptions.New(subscriptions.Config{Store: store})
	if err != nil {
		panic(err)
	}
	api, err := wsapi.New(wsapi.Config{Store: store, Subscriptions: owner})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(api)
	return server.URL, func() {
		ctx := context.Background()
		_ = errors.Join(api.Close(ctx), owner.Close(ctx), store.Close())
		server.Close()
	}
}

func orders() core.Commit {
	return core.Commit{Appends: []core.Append{{
		Stream: "order-42", Expect: core.NoStream,
		Events: []core.NewEvent{
			{Type: "OrderPlaced", Data: []byte(`{"total":10}`)},
			{Type: "OrderPaid", Data: []byte(`{"amount":10}`)},
		},
	}}}
}
