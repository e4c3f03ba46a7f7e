package wire

import "github.com/gyre-events/gyre/core"

// Transaction is the body of POST /v1/transactions: several appends, checks and changes of streams,
// snapshots, and the move of a progress, all or nothing.
type Transaction struct {
	Tx        []Element      `json:"tx,omitzero"`
	Checks    []Check        `json:"checks,omitzero"`
	Streams   []StreamChange `json:"streams,omitzero"`
	Progress  *Progress      `json:"progress,omitzero"`
	Snapshots []SnapshotPut  `json:"snapshots,omitzero"`
}

// NewTransaction is the inverse of Core. Records do not cross the network.
func NewTransaction(c *core.Commit, puts []core.SnapshotPut) (*Transaction, error) {
	t := &Transaction{Streams: NewStreamChanges(c), Progress: NewProgress(c.Progress), Snapshots: make([]SnapshotPut, len(puts))}
	var err error
	if t.Tx, t.Checks, err = newElements(c); err != nil {
		return nil, err
	}
	for i := range puts {
		p := &puts[i]
		t.Snapshots[i] = SnapshotPut{Stream: p.Stream, Kind: p.Kind, SnapshotState: NewSnapshotState(&p.Snapshot), Overwrite: p.Overwrite}
	}
	return t, nil
}

// Core is what t asks to be written.
func (t *Transaction) Core() (core.Commit, []core.SnapshotPut, error) {
	commit, err := commitOf(t.Tx, t.Checks, t.Streams)
	if err != nil {
		return core.Commit{}, nil, err
	}
	commit.Progress = t.Progress.CoreProgress()
	puts, err := corePuts(t.Snapshots)
	return commit, puts, err
}
