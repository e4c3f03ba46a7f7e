// Command poison-mended is what ../poison becomes: an order without items is rejected, and no longer
// ends the plugin. docs/poison.md goes through it.
package main

import (
	"fmt"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

func init() { plugin.Handle(sell) }

func main() {} // it is never called

func sell(c *plugin.Context, e *plugin.Event) error {
	if _, err := c.State().Add("orders", 1); err != nil {
		return err
	}
	prices := pricesOf(e.JSON())
	c.Log(plugin.Info, fmt.Sprintf("%s has %d items", e.Stream, len(prices)))
	if len(prices) == 0 {
		return c.Append("dearest", "OrderRejected", json.NewObject().Text("order", e.Stream).Text("because", "it has no items").Bytes())
	}
	return c.Append("dearest", "DearestSold", json.NewObject().Text("order", e.Stream).Int("price", dearest(prices)).Bytes())
}

// pricesOf are the prices of an order's items.
func pricesOf(order json.Value) (prices []int64) {
	for _, item := range order.Get("items").Elements() {
		prices = append(prices, item.Get("price").Int())
	}
	return prices
}

// dearest is the highest of prices, of which there is one at least.
func dearest(prices []int64) int64 {
	most := prices[0]
	for _, price := range prices {
		most = max(most, price)
	}
	return most
}
