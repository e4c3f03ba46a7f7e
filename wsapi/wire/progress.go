package wire

import (
	"encoding/binary"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Progress is the move of a client's place in an append, the same in WebSocket messages and
// in HTTP bodies.
type Progress struct {
	Name string `json:"name"`
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
	Log  string `json:"log,omitzero"`
	ID   ID     `json:"id,omitzero"`
}

// CoreProgress is p as a Commit has it; nil for nil.
func (p *Progress) CoreProgress() *core.Progress {
	if p == nil {
		return nil
	}
	return &core.Progress{Name: p.Name, From: p.From, To: p.To, Log: p.Log, ID: core.ID(p.ID)}
}

// NewProgress is the inverse of CoreProgress.
func NewProgress(p *core.Progress) *Progress {
	if p == nil {
		return nil
	}
	return &Progress{Name: p.Name, From: p.From, To: p.To, Log: p.Log, ID: ID(p.ID)}
}

// ProgressInfo is a stored place.
type ProgressInfo struct {
	Name     string `json:"name"`
	Position uint64 `json:"position"`
	Log      string `json:"log"`
	Cursor   string `json:"cursor"` // of the position: where a follow goes on
	Lag      uint64 `json:"lag"`    // positions to the head
	Moved    Time   `json:"moved"`
	ID       ID     `json:"id,omitzero"`
}

// NewProgressInfo is a place of a log that has reached head.
func NewProgressInfo(p *core.ProgressInfo, head uint64) ProgressInfo {
	return ProgressInfo{
		Name: p.Name, Position: p.Position, Log: p.Log, Cursor: core.Cursor{Log: p.Log, Position: p.Position}.String(),
		Lag: head - min(head, p.Position), Moved: Time(p.Moved), ID: ID(p.ID),
	}
}

// CoreInfo is p without what is derived.
func (p *ProgressInfo) CoreInfo() core.ProgressInfo {
	return core.ProgressInfo{Name: p.Name, Position: p.Position, Log: p.Log, ID: core.ID(p.ID), Moved: time.Time(p.Moved)}
}

// The fields of a COMMIT.
const tagProgress = 1

// fieldHeaderBytes is the size of the tag and the length of a field.
const fieldHeaderBytes = 4

// maxProgressBytes bounds the fields of a COMMIT that moves p.
func maxProgressBytes(p *core.Progress) int {
	if p == nil {
		return 0
	}
	const numbers, sizes = 2 * binary.MaxVarintLen64, 2 * binary.MaxVarintLen32
	return fieldHeaderBytes + numbers + sizes + len(core.ID{}) + len(p.Log) + len(p.Name)
}

// appendFields appends the fields of a COMMIT.
func appendFields(dst []byte, p *core.Progress) []byte {
	field := make([]byte, 0, maxProgressBytes(p))
	field = binary.AppendUvarint(field, p.From)
	field = binary.AppendUvarint(field, p.To)
	field = append(field, p.ID[:]...)
	field = binary.AppendUvarint(field, uint64(len(p.Log)))
	field = append(append(field, p.Log...), p.Name...)
	dst = binary.AppendUvarint(dst, uint64(fieldHeaderBytes+len(field)))
	dst = binary.LittleEndian.AppendUint16(dst, tagProgress)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(field)))
	return append(dst, field...)
}

// fields takes the fields of a COMMIT. The Commit is refused if one is not known: it may be
// a condition.
func (b *commitBlock) fields(c *core.Commit) error {
	n, err := b.count(1)
	if err != nil {
		return err
	}
	fields := b.rest[:n]
	b.rest = b.rest[n:]
	for len(fields) > 0 {
		if len(fields) < fieldHeaderBytes {
			return errCut
		}
		tag, size := binary.LittleEndian.Uint16(fields), int(binary.LittleEndian.Uint16(fields[2:]))
		fields = fields[fieldHeaderBytes:]
		switch {
		case size > len(fields), tag == tagProgress && c.Progress != nil:
			return errCut
		case tag == tagProgress:
			if c.Progress, err = decodeProgress(fields[:size]); err != nil {
				return err
			}
		case b.bad == nil:
			b.bad = core.Errorf(core.CodeNotSupported, "field %d of an append is not known here", tag)
		}
		fields = fields[size:]
	}
	return nil
}

// decodeProgress takes the field of a Progress.
func decodeProgress(field []byte) (*core.Progress, error) {
	f, p := Frames{rest: field}, &core.Progress{}
	if err := f.numbers(&p.From, &p.To); err != nil {
		return nil, err
	}
	if len(f.rest) < len(p.ID) {
		return nil, errCut
	}
	f.rest = f.rest[copy(p.ID[:], f.rest):]
	n, err := f.count(1)
	if err != nil {
		return nil, err
	}
	p.Log, p.Name = string(f.rest[:n]), string(f.rest[n:])
	return p, nil
}
