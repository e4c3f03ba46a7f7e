// Command hotspot is the plugin of the tests that kill nodes. It counts the changes of each
// file, and appends one event for a file with many. Some events it tries again, and some it
// parks until they are replayed, by their ids: each run does the same.
package main

import (
	"time"

	"github.com/gyre-events/gyre/sdk/plugin"
)

func init() { plugin.Handle(handle) }

func main() {}

const hot = 5

func handle(c *plugin.Context, e *plugin.Event) error {
	switch {
	case e.ID[15]%64 == 7 && !e.Replay:
		return plugin.Park("by its id")
	case e.ID[15]%64 == 9 && e.Attempt == 1:
		return plugin.Retry(time.Millisecond, "once, by its id")
	}
	n, err := c.State().Add("changes "+e.Stream, 1)
	if err != nil {
		return err
	}
	if err := c.Count("changes", 1); err != nil {
		return err
	}
	if n%hot != 0 {
		return nil
	}
	c.Log(plugin.Info, "a hot spot: "+e.Stream)
	return c.Append("hotspot-"+e.Stream, "HotspotDetected", []byte(`{"file":"`+e.Stream+`"}`))
}
