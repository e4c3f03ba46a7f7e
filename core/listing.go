package core

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
)

// maxSorted is how many names may be gone through to sort the streams of a list by created or
// by changed; where there are more, the log is gone through.
const maxSorted = 2 * MaxReadEvents

// maxCounted is how many names are gone through for a total.
const maxCounted = 50 * MaxReadEvents

// Streams lists streams. Limit defaults to DefaultReadEvents and is capped at MaxReadEvents.
// Suffix and Pattern are compared with at most MaxStreamsNames names for a page; by created
// and by changed at most MaxStreamsWalk entries of the log are looked at. Text that cannot be
// part of a name is refused, since not every engine can compare it.
func (s *Store) Streams(ctx context.Context, r StreamsRequest) (StreamsPage, error) {
	if err := r.bound(); err != nil {
		return StreamsPage{}, err
	}
	if err := s.policies.fresh(ctx); err != nil {
		return StreamsPage{}, err
	}
	page, err := s.findStreams(ctx, r)
	if err == nil {
		err = s.retain(ctx, page.Streams)
	}
	return page, err
}

// findStreams is Streams without regard to retention.
func (s *Store) findStreams(ctx context.Context, r StreamsRequest) (StreamsPage, error) {
	switch {
	case r.Names != nil:
		return s.namedStreams(ctx, &r)
	case r.Within != nil && len(r.Within) == 0:
		return StreamsPage{End: true, Total: &StreamsTotal{}}, nil
	}
	page, err := s.listStreams(ctx, r)
	if err == nil && r.Totals {
		page.Total, err = s.countStreams(ctx, r)
	}
	if r.Within != nil {
		page.Looked = 0 // says how many there are that are not shown
	}
	return page, err
}

// bound checks r and sets its defaults.
func (r *StreamsRequest) bound() error {
	if len(r.Names) > MaxReadEvents {
		return Errorf(CodeInvalidRequest, "%d names, the limit is %d", len(r.Names), MaxReadEvents)
	}
	for _, name := range r.Names {
		if err := ValidateReadable(name); err != nil {
			return err
		}
	}
	if err := r.validateAfter(); err != nil {
		return err
	}
	if err := ValidateListing(r.Suffix, ""); err != nil {
		return Errorf(CodeInvalidRequest, "no name ends with %q", Clip(r.Suffix))
	}
	if r.Pattern != "" {
		if err := (&Filter{Streams: []string{r.Pattern}}).Validate(); err != nil {
			return err
		}
	}
	r.Limit = pageLimit(r.Limit)
	r.narrow()
	return nil
}

func (r *StreamsRequest) validateAfter() error {
	switch {
	case r.State != nil && *r.State > StreamTombstoned:
		return Errorf(CodeInvalidRequest, "there is no state %d of streams", *r.State)
	case r.Sort == ByName && !r.isTombstoned():
		return ValidateListing(r.Prefix, r.After)
	case r.Sort <= ByChanged:
		if after := r.AfterPosition(); r.After != "" && (after > MaxNumber || r.After != strconv.FormatUint(after, 10)) {
			return Errorf(CodeInvalidCursor, "%q is not a position to go on after", Clip(r.After))
		}
		return ValidateListing(r.Prefix, "")
	}
	return Errorf(CodeInvalidRequest, "there is no order %d of streams", r.Sort)
}

// narrow lengthens the prefix to what all names begin with that r selects.
func (r *StreamsRequest) narrow() {
	begin := func(begins string) {
		if strings.HasPrefix(begins, r.Prefix) {
			r.Prefix = begins
		}
	}
	if r.Pattern != "" {
		literal, _, _ := strings.Cut(r.Pattern, "*")
		begin(literal)
	}
	if len(r.Within) == 0 {
		return
	}
	common, _, _ := strings.Cut(r.Within[0], "*")
	for _, p := range r.Within[1:] {
		literal, _, _ := strings.Cut(p, "*")
		n := 0
		for n < min(len(common), len(literal)) && common[n] == literal[n] {
			n++
		}
		common = strings.ToValidUTF8(common[:n], "")
	}
	begin(common)
}

func (s *Store) listStreams(ctx context.Context, r StreamsRequest) (StreamsPage, error) {
	if r.isTombstoned() {
		return s.tombstonedStreams(ctx, &r)
	}
	if r.Sort != ByName {
		if page, ok, err := s.sortStreams(ctx, r); ok || err != nil {
			return page, err
		}
	}
	if !r.selects() {
		return s.engine.Streams(ctx, r)
	}
	page, err := s.selectStreams(ctx, r)
	if err == nil && r.Details {
		page.Streams, err = s.describe(ctx, page.Streams)
	}
	return page, err
}

// selectStreams goes through pages of the engine until one of r is full or enough was looked
// at. A reader who may not read every stream learns no other name, as a Next: for that
// reader it goes on until it has found a stream.
func (s *Store) selectStreams(ctx context.Context, r StreamsRequest) (page StreamsPage, err error) {
	q, most := r, MaxStreamsNames
	if q.Limit, q.Details = MaxReadEvents, false; r.Sort != ByName {
		most = MaxStreamsWalk
	}
	for {
		got, err := s.engine.Streams(ctx, q)
		if err != nil {
			return page, err
		}
		page.Looked += got.Looked
		for i := range got.Streams {
			if !r.matches(&got.Streams[i]) {
				continue
			}
			if len(page.Streams) == r.Limit {
				page.Next = r.next(&page.Streams[r.Limit-1])
				return page, nil
			}
			page.Streams = append(page.Streams, got.Streams[i])
		}
		if q.After, page.End = got.Next, got.End; got.End {
			return page, nil
		}
		named := r.Within != nil && r.Sort == ByName
		if page.Looked < most || named && len(page.Streams) == 0 {
			continue
		}
		if page.Next = got.Next; named {
			page.Next = r.next(&page.Streams[len(page.Streams)-1])
		}
		return page, nil
	}
}

// next is the After of a page that ends with a stream.
func (r *StreamsRequest) next(last *StreamInfo) string {
	if r.Sort == ByName {
		return last.Name
	}
	return StreamsAfter(last.place(r.Sort))
}

// sortStreams sorts what r selects by its places; ok is false where there are too many names.
func (s *Store) sortStreams(ctx context.Context, r StreamsRequest) (page StreamsPage, ok bool, err error) {
	q := r
	q.Sort, q.Descending, q.After, q.Limit, q.Details = ByName, false, "", MaxReadEvents, false
	var found []StreamInfo
	for {
		got, err := s.engine.Streams(ctx, q)
		if err != nil {
			return page, false, err
		}
		page.Looked += got.Looked
		for i := range got.Streams {
			if r.matches(&got.Streams[i]) {
				found = append(found, got.Streams[i])
			}
		}
		if got.End {
			break
		}
		if page.Looked >= maxSorted {
			return page, false, nil
		}
		q.After = got.Next
	}
	if found, err = s.describe(ctx, found); err != nil {
		return page, false, err
	}
	page.Streams, page.End = r.cut(found)
	if !page.End {
		page.Next = r.next(&page.Streams[r.Limit-1])
	}
	return page, true, nil
}

// cut sorts the streams that have a place, and returns those of the page, and whether it is
// the last one.
func (r *StreamsRequest) cut(found []StreamInfo) ([]StreamInfo, bool) {
	after := r.AfterPosition()
	found = slices.DeleteFunc(found, func(i StreamInfo) bool {
		at := i.place(r.Sort)
		return at == 0 || r.After != "" && (at == after || at < after != r.Descending)
	})
	slices.SortFunc(found, func(a, b StreamInfo) int {
		if r.Descending {
			a, b = b, a
		}
		return cmp.Compare(a.place(r.Sort), b.place(r.Sort))
	})
	return found[:min(len(found), r.Limit)], len(found) <= r.Limit
}

// describe adds details to streams. Those that are gone by now are left out.
func (s *Store) describe(ctx context.Context, streams []StreamInfo) ([]StreamInfo, error) {
	described := make([]StreamInfo, 0, len(streams))
	for chunk := range slices.Chunk(streams, MaxReadEvents) {
		names := make([]string, len(chunk))
		for i := range chunk {
			names[i] = chunk[i].Name
		}
		got, err := s.engine.Streams(ctx, StreamsRequest{Names: names, Details: true, Limit: len(names)})
		if err != nil {
			return nil, err
		}
		described = append(described, got.Streams...)
	}
	return described, nil
}

// countStreams counts what r selects.
func (s *Store) countStreams(ctx context.Context, r StreamsRequest) (*StreamsTotal, error) {
	r.Sort, r.Descending, r.After, r.Limit, r.Details = ByName, false, "", MaxReadEvents, false
	total := &StreamsTotal{}
	list := s.engine.Streams
	if r.isTombstoned() {
		list = func(ctx context.Context, r StreamsRequest) (StreamsPage, error) { return s.tombstonedStreams(ctx, &r) }
	}
	for looked := 0; ; {
		got, err := list(ctx, r)
		if err != nil {
			return nil, err
		}
		for i := range got.Streams {
			if r.matches(&got.Streams[i]) {
				total.Streams++
			}
		}
		looked += got.Looked
		if total.AtLeast = !got.End; got.End || looked >= maxCounted {
			return total, nil
		}
		r.After = got.Next
	}
}

// namedStreams describes the streams of r.Names.
func (s *Store) namedStreams(ctx context.Context, r *StreamsRequest) (page StreamsPage, err error) {
	page.End = true
	names := make([]string, 0, len(r.Names))
	for _, name := range r.Names {
		if name != All && r.shows(name) {
			names = append(names, name)
		}
	}
	var found []StreamInfo
	if len(names) > 0 {
		got, err := s.engine.Streams(ctx, StreamsRequest{Names: names, Details: r.Details, Limit: len(names)})
		if err != nil {
			return page, err
		}
		found = got.Streams
	}
	for _, name := range r.Names {
		switch {
		case name == All:
			info, err := s.describeAll(ctx)
			if err != nil {
				return page, err
			}
			page.Streams = append(page.Streams, info)
		case len(found) > 0 && found[0].Name == name:
			page.Streams, found = append(page.Streams, found[0]), found[1:]
		}
	}
	page.Looked = len(page.Streams)
	return page, nil
}

// describeAll describes $all.
func (s *Store) describeAll(ctx context.Context) (StreamInfo, error) {
	info := StreamInfo{Name: All}
	one := Limit{Events: 1, Bytes: MaxPageBytes}
	page, err := s.engine.ReadLog(ctx, 1, one)
	if err != nil {
		return info, err
	}
	info.Version = page.Head
	for e := range page.Events() {
		info.First, info.Created = e.Position, StreamPlace{e.Position, e.Recorded}
	}
	if page, err = s.engine.ReadLog(ctx, page.Head, one); err != nil {
		return info, err
	}
	for e := range page.Events() {
		info.Changed = StreamPlace{e.Position, e.Recorded}
	}
	return info, nil
}
