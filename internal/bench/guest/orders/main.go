// Command orders is the Go plugin that bench runs through the whole path of a node. The config
// of its binding says what it does with each order: mode is append, state, work, burn or block.
package main

import (
	"time"

	"github.com/gyre-events/gyre/sdk/plugin"
)

func init() { plugin.Handle(handle) }

func main() {} // it is never called

// mode is that of the binding, "" before the first event.
var mode string

// Passes over the data of an order: those of work make a batch of 64 cost more than 200 µs,
// those of burn most of the fuel that a batch has.
const (
	workPasses = 20
	burnPasses = 1500
)

func handle(c *plugin.Context, e *plugin.Event) error {
	if mode == "" {
		mode = c.Config("mode").Text()
	}
	switch mode {
	case "state":
		return c.State().Put(e.Stream, e.Data)
	case "work":
		if work(e.Data, workPasses) == 0 {
			return plugin.Skip
		}
	case "burn":
		if work(e.Data, burnPasses) != 0 {
			return nil
		}
	case "block":
		return plugin.Retry(time.Hour, "it is blocked")
	}
	return c.Append("shipped-"+e.Stream, "OrderShipped", e.Data)
}

// work is a hash that takes a while.
func work(data []byte, passes int) uint32 {
	h := uint32(2166136261)
	for range passes {
		for _, b := range data {
			h = (h ^ uint32(b)) * 16777619
		}
	}
	return h | 1
}
