// Package runtime puts a node together and runs it, and does nothing else: it
// opens the engine, serves it with a core.Store, serves the Store with wsapi,
// and takes it all down again in the opposite order.
//
// It can be imported: tests and programs that embed Gyre run nodes in-process.
//
//	node, err := runtime.Start(ctx, runtime.Config{Engine: runtime.EngineMemory, Listen: "127.0.0.1:0"})
//	if err != nil {
//		return err
//	}
//	defer node.Close(context.Background())
//	client, err := sdk.Dial(ctx, node.URL(), sdk.Options{})
//
// # Promises
//
//   - Start returns a node that answers requests, or an error and nothing left behind.
//     Until it returns, /livez is 200 and everything else 503 with code starting.
//   - A node that other machines can reach serves TLS and its store has keys, unless the
//     Config says that it needs none.
//   - All connections between the nodes of a ring use TLS if the nodes serve it.
//   - A node of a ring returns from Start when it has a session. Until there is a quorum it
//     serves nothing, and answers what it is asked about the ring. One that has to make the
//     first key (AdminConfig.KeyFile) returns when there is a quorum.
//   - Close has the other nodes of a ring take over, stops taking requests, finishes those
//     under way for as long as its context lasts, and closes the store, in that order. When
//     it returns, no goroutine of the node is left.
//
// A Node's methods are safe for concurrent use.
package runtime
