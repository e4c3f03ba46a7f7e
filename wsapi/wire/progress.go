package wire

import (
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
