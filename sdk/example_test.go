package sdk_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/memory"
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
	result, err := client.Append(ctx, core.Commit{Appends: []core.Append{{
		Stream: "order-42", Expect: core.NoStream,
		Events: []core.NewEvent{
			{Type: "OrderPlaced", Data: []byte(`{"total":10}`)},
			{Type: "OrderPaid", Data: []byte(`{"amount":10}`)},
		},
	}}})
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
