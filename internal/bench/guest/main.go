// Command guest is the Go plugin that bench measures: it adds up the prices of orders by
// customer.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o guest.wasm ./internal/bench/guest
package main

import "github.com/gyre-events/gyre/sdk/plugin"

func init() { plugin.Handle(add) }

func main() {} // it is never called

func add(c *plugin.Context, e *plugin.Event) error {
	order, sum := e.JSON(), int64(0)
	for _, item := range order.Get("items").Elements() {
		sum += item.Get("quantity").Int() * item.Get("price").Int()
	}
	_, err := c.State().Add(order.Get("customer").Text(), sum)
	return err
}
