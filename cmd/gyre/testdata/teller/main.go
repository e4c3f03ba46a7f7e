// Command teller is a plugin that says its secret wherever it can.
package main

import (
	"errors"
	"fmt"

	"github.com/gyre-events/gyre/sdk/plugin"
)

func init() { plugin.Handle(tell) }

func main() {} // it is never called

func tell(c *plugin.Context, e *plugin.Event) error {
	secret, err := c.Secret("KEY")
	if err != nil {
		return err
	}
	c.Log(plugin.Warn, "it is "+secret+", so to say")
	fmt.Println("printed: " + secret)
	if err := c.Count(secret, 1); err != nil {
		return err
	}
	switch e.Type {
	case "Park":
		return plugin.Park("parked for " + secret)
	case "Fail":
		return errors.New("failed for " + secret)
	case "Panic":
		panic("it is " + secret)
	case "Exit":
		c.Fail(1, "ended for "+secret)
	}
	return nil
}
