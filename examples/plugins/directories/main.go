// Command directories is a plugin for Gyre. It counts the changes of files by directory and
// author: the state has a key DIRECTORY:AUTHOR for each pair, and the value is the number. The
// authors of a directory are the keys with the prefix DIRECTORY:.
package main

import (
	"path"

	"github.com/gyre-events/gyre/sdk/plugin"
)

func init() { plugin.Handle(count) }

func main() {} // it is never called

func count(c *plugin.Context, e *plugin.Event) error {
	file, author := e.JSON().Get("path").Text(), e.JSON().Get("author").Text()
	if file == "" || author == "" {
		return plugin.Park("the data has no path and author")
	}
	_, err := c.State().Add(path.Dir(file)+":"+author, 1)
	return err
}
