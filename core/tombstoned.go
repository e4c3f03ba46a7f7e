package core

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
)

// tombstonedStreams lists the tombstoned streams, which have no name in the engine. Each has one
// notice, and the list has the order of the notices. A page looks at a bounded part of them.
func (s *Store) tombstonedStreams(ctx context.Context, r *StreamsRequest) (page StreamsPage, err error) {
	if r.Sort == ByCreated {
		return page, Errorf(CodeInvalidRequest, "a tombstoned stream has no first event; the list has the order of the tombstones")
	}
	read := ReadRequest{Stream: NoticeStream, From: r.AfterPosition(), Backward: r.Descending}
	read.Select.Filter.Types = []string{noticeTypes[TombstoneStream]}
	for len(page.Streams) < r.Limit && page.Looked < MaxStreamsWalk {
		read.Limit.Events = r.Limit - len(page.Streams)
		notices, err := s.Read(ctx, read)
		if isNotFound(err) {
			return StreamsPage{End: true}, nil
		}
		if err != nil {
			return page, err
		}
		page.Looked += int(notices.Scanned)
		for e := range notices.Events() {
			info, err := tombstoned(&e)
			if err != nil {
				return page, err
			}
			if strings.HasPrefix(info.Name, r.Prefix) && r.matches(&info) {
				page.Streams = append(page.Streams, info)
			}
		}
		if page.End = notices.End; page.End {
			return page, nil
		}
		read.From = notices.Next
	}
	page.Next = strconv.FormatUint(read.From, 10)
	return page, nil
}

// tombstoned describes the stream that a notice is about. Changed is the place of the notice.
func tombstoned(e *Event) (StreamInfo, error) {
	var about struct {
		Stream string `json:"stream"`
	}
	if err := json.Unmarshal(e.Data, &about); err != nil {
		return StreamInfo{}, Errorf(CodeStoreCorrupt, "the notice at position %d cannot be read: %w", e.Position, err)
	}
	return StreamInfo{Name: about.Stream, State: StreamTombstoned, Changed: StreamPlace{e.Position, e.Recorded}}, nil
}
