package core

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
)

// noticeStream has an event for each StreamOp that was written, in the log's order. It is
// what tells other nodes that what they keep in memory may be removed.
const noticeStream = "$streams"

// noticeTypes are the types of these events.
var noticeTypes = [...]string{
	DeleteStream:    "StreamDeleted",
	UndeleteStream:  "StreamUndeleted",
	RemoveStream:    "StreamRemoved",
	TombstoneStream: "StreamTombstoned",
}

// withNotices is c with the events that tell of its StreamOps.
func (c *Commit) withNotices() *Commit {
	all := *c
	notices := Append{Stream: noticeStream, Expect: AnyVersion, Events: make([]NewEvent, len(c.Streams))}
	id := c.noticeID()
	for i := range c.Streams {
		op := &c.Streams[i]
		data, err := json.Marshal(struct {
			Stream string `json:"stream"`
		}{op.Stream})
		if err != nil {
			panic("core: a name cannot be encoded")
		}
		notices.Events[i] = NewEvent{ID: id(i), Type: noticeTypes[op.Action], Data: data}
	}
	all.Appends = append(append(make([]Append, 0, len(c.Appends)+1), c.Appends...), notices)
	return &all
}

// leaveOut takes the notices out of the engine's answer to c.
func (o *Outcome) leaveOut(c *Commit) {
	if len(c.Streams) == 0 {
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
func (c *Commit) noticeID() func(i int) ID {
	if len(c.Appends) == 0 {
		return func(int) ID { return ID{} }
	}
	h := sha256.New()
	for i := range c.Appends {
		a := &c.Appends[i]
		for _, id := range a.Links {
			h.Write(id[:])
		}
		for j := range a.Events {
			if a.Events[j].ID.IsZero() {
				return func(int) ID { return ID{} } // it cannot be sent again
			}
			h.Write(a.Events[j].ID[:])
		}
	}
	seed := h.Sum(nil)
	return func(i int) (id ID) {
		sum := sha256.Sum256(binary.AppendUvarint(append(append(seed[:len(seed):len(seed)], c.Streams[i].Stream...), byte(c.Streams[i].Action)), uint64(i)))
		copy(id[:], sum[:])
		id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // UUID version 8
		return id
	}
}

// hasNotice reports whether b tells of a StreamOp: what is in memory from before may be removed.
func (b *Batch) hasNotice() bool {
	if !b.Hidden {
		return false
	}
	for rest := b.Block; len(rest) > 0; {
		h, ok := decodeHead(rest)
		if !ok {
			panic("core: batch with a malformed event")
		}
		if h.stream == noticeStream {
			return true
		}
		rest = rest[h.size:]
	}
	return false
}
