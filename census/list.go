package census

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Order is what a page is sorted by.
type Order string

// The orders. Counts are sorted from the greatest, and those that are equal by name.
const (
	ByEvents  Order = "events"
	ByStreams Order = "streams" // of categories only
	ByName    Order = "name"
)

// ListRequest asks for a page of counts.
type ListRequest struct {
	Prefix string
	Order  Order  // "": ByEvents of types, and ByStreams of categories
	After  string // the Next of the page before
	Limit  int    // 1 … core.MaxReadEvents; 0 is core.DefaultReadEvents
}

// Type is the count of a type.
type Type struct {
	Type     string    `json:"type"`
	Events   uint64    `json:"events"`
	Position uint64    `json:"position"` // of the last event
	Time     time.Time `json:"time"`     // when that was recorded
}

// Category is the count of a category.
type Category struct {
	Category string    `json:"category"`
	Streams  uint64    `json:"streams"`
	Events   uint64    `json:"events"`
	Links    uint64    `json:"links"`
	Position uint64    `json:"position"` // of the last event or link
	Time     time.Time `json:"time"`     // when that was recorded
}

// Sums are those of many counts.
type Sums struct {
	Streams uint64 `json:"streams"` // of categories
	Events  uint64 `json:"events"`
	Links   uint64 `json:"links"` // of categories
}

// Progress says which part of the log is counted.
type Progress struct {
	UpTo uint64 `json:"upTo"` // the position that the counts are complete up to
	Head uint64 `json:"head"` // the last position of the log
}

// TypePage is a page of types.
type TypePage struct {
	Types  []Type `json:"types"`
	Total  int    `json:"total"` // types that are counted by name
	All    Sums   `json:"all"`
	Others Sums   `json:"others"` // those that are not counted by name
	Next   string `json:"cursor,omitempty"`
	End    bool   `json:"end"`
	Progress
}

// CategoryPage is a page of categories.
type CategoryPage struct {
	Categories []Category `json:"categories"`
	Total      int        `json:"total"` // categories that are counted by name
	All        Sums       `json:"all"`
	Others     Sums       `json:"others"` // those that are not counted by name
	Next       string     `json:"cursor,omitempty"`
	End        bool       `json:"end"`
	Progress
}

// Types returns a page of types. The errors are invalid_request and invalid_cursor, beside the
// store's.
func (c *Census) Types(ctx context.Context, r ListRequest) (TypePage, error) {
	r.Order = cmp.Or(r.Order, ByEvents)
	if r.Order == ByStreams {
		return TypePage{}, core.Errorf(core.CodeInvalidRequest, "types are sorted by events or name, not %q", r.Order)
	}
	all, err := c.counts(ctx)
	if err != nil {
		return TypePage{}, err
	}
	page := TypePage{Types: []Type{}, Total: len(all.types), Progress: c.progress(all)}
	page.All, page.Others = sums(all.types, &all.state.OtherTypes)
	names, next, err := r.page(all.types)
	for _, n := range names {
		page.Types = append(page.Types, Type{n.name, n.Events, n.Position, n.Time})
	}
	page.Next, page.End = next, next == ""
	return page, err
}

// Categories returns a page of categories, with the errors of Types.
func (c *Census) Categories(ctx context.Context, r ListRequest) (CategoryPage, error) {
	r.Order = cmp.Or(r.Order, ByStreams)
	all, err := c.counts(ctx)
	if err != nil {
		return CategoryPage{}, err
	}
	page := CategoryPage{Categories: []Category{}, Total: len(all.categories), Progress: c.progress(all)}
	page.All, page.Others = sums(all.categories, &all.state.OtherCategories)
	names, next, err := r.page(all.categories)
	for _, n := range names {
		page.Categories = append(page.Categories, Category{n.name, n.Streams, n.Events, n.Links, n.Position, n.Time})
	}
	page.Next, page.End = next, next == ""
	return page, err
}

// sums returns the sums over all counts, and those of the others alone.
func sums(list []named, rest *Count) (all, others Sums) {
	others = Sums{Streams: rest.Streams, Events: rest.Events, Links: rest.Links}
	all = others
	for i := range list {
		all.Streams += list[i].Streams
		all.Events += list[i].Events
		all.Links += list[i].Links
	}
	return all, others
}

func (c *Census) progress(all *counts) Progress {
	return Progress{UpTo: all.state.Position, Head: max(c.config.Store.State().Head, all.state.Position)}
}

// named is a count with its name.
type named struct {
	name string
	Count
}

// counts are those up to a position of the log. They do not change.
type counts struct {
	state             state
	types, categories []named // in the order of names
}

// readTries is how often stored counts are read that a fold moves meanwhile. Those of the last try
// may be of two steps.
const readTries = 3

// counts returns those of the fold, or of another node's what is stored.
func (c *Census) counts(ctx context.Context) (all *counts, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fold.Load(); f != nil {
		c.last = f.snapshot(c.last)
		return c.last, nil
	}
	s, _, err := readState(ctx, c.config.Store)
	for range readTries {
		if err != nil || c.last != nil && c.last.state.Position == s.Position {
			return c.last, err
		}
		all = &counts{state: s}
		for table, list := range map[string]*[]named{typesTable: &all.types, categoriesTable: &all.categories} {
			if err := readCounts(ctx, c.config.Store, table, func(name string, c Count) { *list = append(*list, named{name, c}) }); err != nil {
				return nil, err
			}
		}
		if s, _, err = readState(ctx, c.config.Store); err == nil && s.Position == all.state.Position {
			c.last = all
		}
	}
	return all, err
}

// page returns the counts of a page, and the cursor of the next one; "" if there is none.
func (r *ListRequest) page(all []named) (page []named, next string, err error) {
	if err := core.ValidateListing(r.Prefix, ""); err != nil {
		return nil, "", err
	}
	by, err := r.by()
	if err != nil {
		return nil, "", err
	}
	last, err := r.last()
	if err != nil {
		return nil, "", err
	}
	order := func(a, b named) int {
		return cmp.Or(cmp.Compare(by(&b), by(&a)), strings.Compare(a.name, b.name))
	}
	for _, n := range all {
		if strings.HasPrefix(n.name, r.Prefix) && (last == nil || order(*last, n) < 0) {
			page = append(page, n)
		}
	}
	slices.SortFunc(page, order)
	limit := cmp.Or(r.Limit, core.DefaultReadEvents)
	if len(page) > limit {
		page = page[:limit]
		end := &page[limit-1]
		next = strconv.FormatUint(by(end), 10) + " " + end.name
	}
	return page, next, nil
}

// by returns what counts are sorted by.
func (r *ListRequest) by() (func(*named) uint64, error) {
	switch r.Order {
	case ByEvents:
		return func(n *named) uint64 { return n.Events }, nil
	case ByStreams:
		return func(n *named) uint64 { return n.Streams }, nil
	case ByName:
		return func(*named) uint64 { return 0 }, nil
	}
	return nil, core.Errorf(core.CodeInvalidRequest, "sort is events, streams or name, not %.40q", r.Order)
}

// last returns the last count of the page before, as far as its order needs it; nil: there is none.
func (r *ListRequest) last() (*named, error) {
	if r.After == "" {
		return nil, nil
	}
	digits, name, ok := strings.Cut(r.After, " ")
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || core.ValidateListing("", name) != nil {
		return nil, core.Errorf(core.CodeInvalidCursor, "%.100q is not a cursor of counts", r.After)
	}
	return &named{name, Count{Events: n, Streams: n}}, nil
}
