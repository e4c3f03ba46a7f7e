// Command guest is the probe as a module.
package main

import (
	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/internal/probe"
)

func init() {
	plugin.Handle(probe.Handle)
	plugin.Filter(probe.Filter)
	plugin.Map(probe.Map)
	plugin.Partition(probe.Partition)
	plugin.Validate(probe.Validate)
}

func main() {}
