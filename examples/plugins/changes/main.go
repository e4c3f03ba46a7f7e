// Command changes is a plugin for Gyre: a projection that counts how often each file was changed, by its
// path, and answers which were changed most often. A query is {"n":3,"prefix":"service/"}, both of which may
// be left out; the answer is [{"file":"service/http.go","changes":12},…].
package main

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/gyre-events/gyre/sdk/plugin"
	"github.com/gyre-events/gyre/sdk/plugin/json"
	"github.com/gyre-events/gyre/sdk/plugin/query"
)

func init() {
	plugin.Handle(count)
	query.Handle(top)
}

func main() {} // it is never called

func count(c *plugin.Context, e *plugin.Event) error {
	path := e.JSON().Get("path").Text()
	if path == "" {
		return plugin.Skip
	}
	_, err := c.State().Add(path, 1)
	return err
}

// file is how often a file was changed.
type file struct {
	name    string
	changes int64
}

const (
	defaultFiles = 10
	mostFiles    = 1000
)

func top(v *plugin.View, question []byte) ([]byte, error) {
	asked := json.Value{}
	if len(question) > 0 {
		var err error
		if asked, err = json.Parse(question); err != nil {
			return nil, err
		}
	}
	n := defaultFiles
	if asked.Get("n").Exists() {
		n = int(min(max(asked.Get("n").Int(), 0), mostFiles))
	}
	var files []file
	err := v.State().Scan(asked.Get("prefix").Text(), func(key string, value []byte) bool {
		changes, _ := strconv.ParseInt(string(value), 10, 64)
		files = append(files, file{key, changes})
		return true
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b file) int {
		return cmp.Or(cmp.Compare(b.changes, a.changes), cmp.Compare(a.name, b.name))
	})
	answer := json.NewArray()
	for _, f := range files[:min(n, len(files))] {
		answer.Raw(json.NewObject().Text("file", f.name).Int("changes", f.changes).Bytes())
	}
	return answer.Bytes(), nil
}
