package disk

import (
	"context"
	"slices"
	"strings"

	"github.com/gyre-events/gyre/core"
)

// Streams is core.Engine's.
func (e *Engine) Streams(ctx context.Context, r core.StreamsRequest) (core.StreamsPage, error) {
	if err := e.enter(ctx); err != nil {
		return core.StreamsPage{}, err
	}
	defer e.life.RUnlock()
	m := e.appender.durable.Load()
	v := e.index.view.Load()
	versions := make(map[string]uint64)
	for _, t := range v.tables {
		t.mu.RLock()
		for name, s := range t.streams {
			if !strings.HasPrefix(name, r.Prefix) || name <= r.After {
				continue
			}
			if n := s.base + uint64(visible(s.offs, t.segment, m.end)); n > 0 {
				versions[name] = n
			}
		}
		t.mu.RUnlock()
	}
	var page core.StreamsPage
	for name, version := range versions {
		page.Streams = append(page.Streams, core.StreamInfo{Name: name, Version: version})
	}
	slices.SortFunc(page.Streams, func(a, b core.StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	page.End = len(page.Streams) <= r.Limit
	page.Streams = page.Streams[:min(len(page.Streams), r.Limit)]
	return page, nil
}
