// Command orders is the Go plugin that bench runs through the whole path of a node. The config
// of its binding says what it does with each order: mode is append, state or work.
package main

import "github.com/gyre-events/gyre/sdk/plugin"

func init() { plugin.Handle(handle) }

func main() {} // it is never called

// mode is that of the binding, "" before the first event.
var mode string

// passes over the data of an order make a batch of 64 cost more than 200 µs.
const passes = 20

func handle(c *plugin.Context, e *plugin.Event) error {
	if mode == "" {
		mode = c.Config("mode").Text()
	}
	switch mode {
	case "state":
		return c.State().Put(e.Stream, e.Data)
	case "work":
		if work(e.Data) == 0 {
			return plugin.Skip
		}
	}
	return c.Append("shipped-"+e.Stream, "OrderShipped", e.Data)
}

// work is a hash that takes a while.
func work(data []byte) uint32 {
	h := uint32(2166136261)
	for range passes {
		for _, b := range data {
			h = (h ^ uint32(b)) * 16777619
		}
	}
	return h | 1
}
