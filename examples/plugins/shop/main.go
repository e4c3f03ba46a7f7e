// Command shop is a plugin for Gyre, a process manager: it brings orders and payments together, and
// ends each order once.
//
//	OrderPlaced       in order-7     total, customer       ──► OrderPaid       in order-7
//	PaymentReceived   in payment-…   order: "7", amount    ──► ReminderSent    in order-7
//	Tick              in clock       now, may be left out  ──► OrderCancelled  in order-7
//
// It has no clock. What the time is, the events say: when they were recorded, and of a Tick its
// now. So a rebuild over the same events comes to the same end, whenever it runs, and a test needs
// no wait. Somebody has to append a Tick now and then, such as cron, for orders to run out of time
// while nothing is sold.
//
// A Tick is about all orders, so there is one lane.
package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

func init() { plugin.Handle(handle) }

func main() {} // it is never called

// handle first ends what has run out of time when the event came.
func handle(c *plugin.Context, e *plugin.Event) error {
	now, err := timeAt(c, e)
	if err != nil {
		return err
	}
	if err := timeOut(c, now); err != nil {
		return err
	}
	switch e.Type {
	case "OrderPlaced":
		return place(c, e, now)
	case "PaymentReceived":
		return pay(c, e)
	case "Tick":
		return nil
	}
	return plugin.Skip
}

// timeAt is the time, in Unix seconds, when an event came. It never goes back.
func timeAt(c *plugin.Context, e *plugin.Event) (now int64, err error) {
	now = e.Time().Unix()
	if given := e.JSON().Get("now"); e.Type == "Tick" && given.Exists() {
		at, err := time.Parse(time.RFC3339, given.Text())
		if err != nil {
			return 0, plugin.Park("now is no time, such as 2026-11-30T12:00:00Z")
		}
		now = at.Unix()
	}
	was, err := c.State().Int("now")
	if err != nil || now <= was {
		return was, err
	}
	return now, c.State().PutInt("now", now)
}

// place begins an order, which its payment may have come before.
func place(c *plugin.Context, e *plugin.Event, now int64) error {
	id, data := strings.TrimPrefix(e.Stream, "order-"), e.JSON()
	o, err := load(c, id)
	switch {
	case err != nil:
		return err
	case o.state != "":
		return plugin.Skip // it was placed before
	case data.Get("total").Int() <= 0:
		return plugin.Park("an order has a total above 0")
	}
	o.state, o.placed = "placed", now
	o.customer, o.total = data.Get("customer").Text(), data.Get("total").Int()
	return o.goOn(c)
}

// pay adds a payment to its order.
func pay(c *plugin.Context, e *plugin.Event) error {
	id, amount := e.JSON().Get("order").Text(), e.JSON().Get("amount").Int()
	if id == "" || amount <= 0 {
		return plugin.Park("a payment names an order, and has an amount above 0")
	}
	o, err := load(c, id)
	if err != nil {
		return err
	}
	if o.state == "paid" || o.state == "cancelled" {
		return plugin.Park(fmt.Sprintf("order %s is %s: give %d back", id, o.state, amount))
	}
	o.paid += amount
	return o.goOn(c)
}

// mostAtOnce bounds the orders that run out of time at one event. With the event itself, a batch of
// 16 then appends less than the 1,024 events that it may. The others follow at the next event.
const mostAtOnce = 60

// timeOut reminds of orders and cancels those that are due.
func timeOut(c *plugin.Context, now int64) error {
	var due []string
	err := c.State().Scan("due/", func(key string, _ []byte) bool {
		at, _, _ := strings.Cut(strings.TrimPrefix(key, "due/"), "/")
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil || seconds > now || len(due) == mostAtOnce {
			return false
		}
		due = append(due, key)
		return true
	})
	for _, key := range due {
		if err == nil {
			err = runOut(c, key[len(dueKey(0, "")):])
		}
	}
	return err
}

// runOut reminds of an order, or cancels one that was reminded of.
func runOut(c *plugin.Context, id string) error {
	o, err := load(c, id)
	if err != nil {
		return err
	}
	next, typ := "cancelled", "OrderCancelled"
	if o.state == "placed" {
		next, typ = "reminded", "ReminderSent"
	}
	o.state = next
	err = c.Append("order-"+id, typ, json.NewObject().Text("customer", o.customer).Int("total", o.total).Int("paid", o.paid).Bytes())
	if err != nil {
		return err
	}
	return o.goOn(c)
}
