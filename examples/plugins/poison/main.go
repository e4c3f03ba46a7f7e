// Command poison is a plugin for Gyre with a bug, for docs/poison.md: it appends the dearest item of
// each order, and panics on an order without items. ../poison-mended is the next version of it.
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
	return c.Append("dearest", "DearestSold", json.NewObject().Text("order", e.Stream).Int("price", dearest(prices)).Bytes())
}

// pricesOf are the prices of an order's items.
func pricesOf(order json.Value) (prices []int64) {
	for _, item := range order.Get("items").Elements() {
		prices = append(prices, item.Get("price").Int())
	}
	return prices
}

// dearest is the highest of prices. It panics if there are none.
func dearest(prices []int64) int64 {
	most := prices[0]
	for _, price := range prices {
		most = max(most, price)
	}
	return most
}
