// Command guest is the probe as a module.
package main

import (
	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/internal/probe"
)

func init() { plugin.Handle(probe.Handle) }

func main() {}
