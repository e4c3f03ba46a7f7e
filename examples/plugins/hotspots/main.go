// Command hotspots is a plugin for Gyre. It appends one HotspotDetected for each file that has
// changed more often than a threshold, 50 unless its config says otherwise. The stream of the
// event is hotspot- and the rest of the file's: file-repo/Makefile becomes hotspot-repo/Makefile.
package main

import (
	"strings"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
)

func init() { plugin.Handle(detect) }

func main() {} // it is never called

func detect(c *plugin.Context, e *plugin.Event) error {
	file, ok := strings.CutPrefix(e.Stream, "file-")
	if !ok {
		return plugin.Skip
	}
	changes, err := c.State().Add(file, 1)
	if err != nil || changes != c.Config("threshold").Int()+1 {
		return err
	}
	c.Log(plugin.Info, file+" is a hotspot")
	return c.Append("hotspot-"+file, "HotspotDetected", json.NewObject().
		Text("file", file).Int("changes", changes).Text("author", e.JSON().Get("author").Text()).Bytes())
}
