package core

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
)

// NoticeStream has an event for each StreamOp that was written, and for each policy of
// retention, in the log's order. It is what tells other nodes that what they keep in memory may
// be removed.
const NoticeStream = "$streams"

// RetentionNotice is the type of the event that a policy was put.
const RetentionNotice = "StreamRetentionChanged"

// noticeTypes are the types of these events.
var noticeTypes = [...]string{
	DeleteStream:    "StreamDeleted",
	UndeleteStream:  "StreamUndeleted",
	RemoveStream:    "StreamRemoved",
	TombstoneStream: "StreamTombstoned",
}

// notice is an event of NoticeStream.
type notice struct {
	typ string
	RetentionTarget
}

// noticeData is the data of these events.
type noticeData struct {
	Stream   string `json:"stream,omitzero"`
	Category string `json:"category,omitzero"`
}

// notices are what others are told of c.
func (c *Commit) notices() (list []notice) {
	for i := range c.Streams {
		list = append(list, notice{noticeTypes[c.Streams[i].Action], RetentionTarget{Stream: c.Streams[i].Stream}})
	}
	for i := range c.Records {
		if c.Records[i].putsRetention() {
			list = append(list, notice{RetentionNotice, RetentionTargetOf(c.Records[i].Key)})
		}
	}
	return list
}

// hasNotices reports whether notices has any.
func (c *Commit) hasNotices() bool { return len(c.Streams) > 0 || c.PutsRetention() }

// PutsRetention reports whether c changes a policy of retention.
func (c *Commit) PutsRetention() bool {
	for i := range c.Records {
		if c.Records[i].putsRetention() {
			return true
		}
	}
	return false
}

// withNotices is c with the events of its notices.
func (c *Commit) withNotices() *Commit {
	all, notices := *c, c.notices()
	events := make([]NewEvent, len(notices))
	id := c.noticeID()
	for i, n := range notices {
		data, err := json.Marshal(noticeData{n.Stream, n.Category})
		if err != nil {
			panic("core: a name cannot be encoded")
		}
		events[i] = NewEvent{ID: id(i, n), Type: n.typ, Data: data}
	}
	written := Append{Stream: NoticeStream, Expect: AnyVersion, Events: events}
	all.Appends = append(append(make([]Append, 0, len(c.Appends)+1), c.Appends...), written)
	return &all
}

// leaveOut takes the notices out of the engine's answer to c.
func (o *Outcome) leaveOut(c *Commit) {
	if !c.hasNotices() {
		return
	}
	n, r := len(c.Appends), &o.Result
	if e := (*Error)(nil); errors.As(o.Err, &e) && e.Element != nil && *e.Element > n {
		known := *e
		o.Err = atElement(&known, *e.Element-1)
	}
	if len(r.Appends) <= n {
		return
	}
	r.Appends, r.Position = r.Appends[:n:n], 0
	if n > 0 {
		r.Position = r.Appends[n-1].LastPosition
	}
}

// noticeID returns the ids of the notices. A Commit with events or links is found by its ids
// when it is sent again, so the ids of its notices follow from them.
func (c *Commit) noticeID() func(i int, n notice) ID {
	if len(c.Appends) == 0 {
		return func(int, notice) ID { return ID{} }
	}
	h := sha256.New()
	for i := range c.Appends {
		a := &c.Appends[i]
		for _, id := range a.Links {
			h.Write(id[:])
		}
		for j := range a.Events {
			if a.Events[j].ID.IsZero() {
				return func(int, notice) ID { return ID{} } // it cannot be sent again
			}
			h.Write(a.Events[j].ID[:])
		}
	}
	seed := h.Sum(nil)
	return func(i int, n notice) (id ID) {
		sum := sha256.Sum256(binary.AppendUvarint(append(seed[:len(seed):len(seed)], n.typ+"\n"+n.key()...), uint64(i)))
		copy(id[:], sum[:])
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // UUID version 8
		return id
	}
}

// notices reports whether b has a notice: what is in memory from before may be removed, deleted or
// expired. It returns what is; of any streams, where b does not have all that was written between
// its positions.
func (b *Batch) notices() (found bool, removed []removal) {
	if b.Count == 0 && b.Last > 0 {
		return false, []removal{{}}
	}
	if !b.Hidden {
		return false, nil
	}
	for rest := b.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		if h.stream == NoticeStream {
			found = true
			removed = appendRemoved(removed, rest[:h.size])
		}
		rest = rest[h.size:]
	}
	return found, removed
}

// appendRemoved appends what a notice says: the removal, or the deletion, of a stream, or an expiry
// where a policy of retention was put.
func appendRemoved(removed []removal, notice []byte) []removal {
	var e Event
	if _, err := DecodeEvent(notice, &e); err != nil {
		panic("core: batch with a malformed event")
	}
	if e.Type == RetentionNotice {
		return append(removed, removal{expiry: true})
	}
	var data noticeData
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return append(removed, removal{})
	}
	switch e.Type {
	case noticeTypes[DeleteStream], noticeTypes[UndeleteStream]:
		return append(removed, removal{stream: data.Stream, deletion: true})
	case noticeTypes[RemoveStream], noticeTypes[TombstoneStream]:
		return append(removed, removal{stream: data.Stream, before: e.Position})
	}
	return removed
}
