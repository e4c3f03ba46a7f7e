package main

import (
	"fmt"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

// order is what the state has under order/ID. An order that ended stays, for its payments may come
// twice or late.
type order struct {
	id          string
	state       string // placed, reminded, paid or cancelled; empty: only payments came
	customer    string
	total, paid int64
	placed      int64 // Unix seconds
	due         int64 // when it is looked at next; 0 if it is not
}

// load reads an order; it is empty if nothing has come.
func load(c *plugin.Context, id string) (*order, error) {
	v, err := c.State().JSON("order/" + id)
	return &order{
		id: id, state: v.Get("state").Text(), customer: v.Get("customer").Text(), total: v.Get("total").Int(), paid: v.Get("paid").Int(),
		placed: v.Get("placed").Int(), due: v.Get("due").Int(),
	}, err
}

// goOn ends an order that is paid, and stores it with the time when it is due.
func (o *order) goOn(c *plugin.Context) error {
	if o.due != 0 {
		if err := c.State().Delete(dueKey(o.due, o.id)); err != nil {
			return err
		}
	}
	const hour = 3600
	o.due = 0
	switch {
	case o.state == "placed" && o.paid < o.total:
		o.due = o.placed + hour*c.Config("remindAfterHours").Int()
	case o.state == "reminded" && o.paid < o.total:
		o.due = o.placed + hour*c.Config("cancelAfterHours").Int()
	case o.state == "placed" || o.state == "reminded":
		o.state = "paid"
		err := c.Append("order-"+o.id, "OrderPaid", json.NewObject().Text("customer", o.customer).Int("total", o.total).Int("paid", o.paid).Bytes())
		if err != nil {
			return err
		}
	}
	if o.due != 0 {
		if err := c.State().Put(dueKey(o.due, o.id), nil); err != nil {
			return err
		}
	}
	return o.save(c)
}

// dueKey is a key that comes before those of orders that are due later.
func dueKey(due int64, id string) string { return fmt.Sprintf("due/%012d/%s", due, id) }

func (o *order) save(c *plugin.Context) error {
	return c.State().Put("order/"+o.id, json.NewObject().Text("state", o.state).Text("customer", o.customer).
		Int("total", o.total).Int("paid", o.paid).Int("placed", o.placed).Int("due", o.due).Bytes())
}
