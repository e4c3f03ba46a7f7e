package wire

import (
	"encoding/base64"
	"strconv"
	"time"

	"github.com/gyre-events/gyre/core"
)

// SnapshotState is what a snapshot has beside its place: the body of a request that records it.
type SnapshotState struct {
	Version     uint64        `json:"version"`
	Type        string        `json:"type,omitzero"`
	Data        RawData       `json:"data,omitzero"`
	DataBase64  *Base64       `json:"dataBase64,omitzero"`
	ContentType string        `json:"contentType,omitzero"`
	Metadata    EventMetadata `json:"metadata,omitzero"`
}

// NewSnapshotState is s without its place.
func NewSnapshotState(s *core.Snapshot) SnapshotState {
	e := FromNewEvent(&core.NewEvent{Format: s.Format, ContentType: s.ContentType, Data: s.Data, Metadata: s.Metadata})
	return SnapshotState{
		Version: s.Version, Type: s.Type, Data: e.Data, DataBase64: e.DataBase64, ContentType: e.ContentType, Metadata: e.Metadata,
	}
}

// CoreSnapshot is s of a stream and a kind.
func (s *SnapshotState) CoreSnapshot(stream, kind string) (core.Snapshot, error) {
	if (s.Data == nil) == (s.DataBase64 == nil) {
		return core.Snapshot{}, core.Errorf(core.CodeInvalidData, "a snapshot has either data or dataBase64; null is a value")
	}
	e := Event{Data: s.Data, DataBase64: s.DataBase64, ContentType: s.ContentType, Metadata: s.Metadata}
	n, err := e.NewEvent()
	return core.Snapshot{
		Stream: stream, Kind: kind, Version: s.Version, Type: s.Type,
		Format: n.Format, ContentType: n.ContentType, Data: n.Data, Metadata: n.Metadata,
	}, err
}

// Snapshot is a recorded snapshot, as JSON has it: what AppendSnapshot writes.
type Snapshot struct {
	Stream        string `json:"stream"`
	Kind          string `json:"kind"`
	SnapshotState `json:",inline"`
	Recorded      Time `json:"recorded"`
}

// CoreSnapshot is s as it is recorded.
func (s *Snapshot) CoreSnapshot() (core.Snapshot, error) {
	recorded, err := s.SnapshotState.CoreSnapshot(s.Stream, s.Kind)
	recorded.Recorded = time.Time(s.Recorded)
	return recorded, err
}

// AppendSnapshot appends the object of s to dst, in one line.
func AppendSnapshot(dst []byte, s *core.Snapshot) []byte {
	dst = appendString(append(dst, `{"stream":`...), s.Stream)
	dst = appendString(append(dst, `,"kind":`...), s.Kind)
	dst = strconv.AppendUint(append(dst, `,"version":`...), s.Version, 10)
	if s.Type != "" {
		dst = appendString(append(dst, `,"type":`...), s.Type)
	}
	dst = AppendTime(append(dst, `,"recorded":"`...), s.Recorded)
	if s.Format == core.JSON {
		dst = appendInLine(append(dst, `","data":`...), s.Data)
	} else {
		dst = base64.StdEncoding.AppendEncode(append(dst, `","dataBase64":"`...), s.Data)
		dst = append(dst, '"')
	}
	if s.ContentType != "" {
		dst = appendString(append(dst, `,"contentType":`...), s.ContentType)
	}
	dst = append(dst, `,"metadata":`...)
	if len(s.Metadata) == 0 {
		return append(dst, `{}}`...)
	}
	return append(appendInLine(dst, s.Metadata), '}')
}

// SnapshotPut is a snapshot that a transaction records.
type SnapshotPut struct {
	Stream        string `json:"stream"`
	Kind          string `json:"kind,omitzero"`
	SnapshotState `json:",inline"`
	Overwrite     bool `json:"overwrite,omitzero"`
}

// corePuts are the snapshots of a transaction. The error names the one that is wrong.
func corePuts(list []SnapshotPut) ([]core.SnapshotPut, error) {
	puts := make([]core.SnapshotPut, len(list))
	for i := range list {
		s, err := list[i].CoreSnapshot(list[i].Stream, list[i].Kind)
		if err != nil {
			e := core.AsError(err)
			return nil, core.Errorf(e.Code, "snapshot %d: %s", i, e.Detail)
		}
		puts[i] = core.SnapshotPut{Snapshot: s, Overwrite: list[i].Overwrite}
	}
	return puts, nil
}

// SnapshotsPage is the body of GET /v1/streams/{stream}/snapshots.
type SnapshotsPage struct {
	Snapshots []SnapshotInfo `json:"snapshots"`
	Cursor    string         `json:"cursor,omitzero"` // of the next page
	End       bool           `json:"end"`
}

// SnapshotInfo is a snapshot in a list.
type SnapshotInfo struct {
	Stream      string `json:"stream"`
	Kind        string `json:"kind"`
	Version     uint64 `json:"version"`
	Type        string `json:"type,omitzero"`
	ContentType string `json:"contentType,omitzero"`
	Bytes       int    `json:"bytes"` // of data and metadata
	Recorded    Time   `json:"recorded"`
}

// NewSnapshotInfo is s as JSON has it.
func NewSnapshotInfo(s *core.SnapshotInfo) SnapshotInfo {
	return SnapshotInfo{
		Stream: s.Stream, Kind: s.Kind, Version: s.Version, Type: s.Type, ContentType: s.ContentType,
		Bytes: s.Bytes, Recorded: Time(s.Recorded),
	}
}

// CoreInfo is the inverse of NewSnapshotInfo.
func (s *SnapshotInfo) CoreInfo() core.SnapshotInfo {
	return core.SnapshotInfo{Bytes: s.Bytes, Snapshot: core.Snapshot{
		Stream: s.Stream, Kind: s.Kind, Version: s.Version, Type: s.Type, ContentType: s.ContentType, Recorded: time.Time(s.Recorded),
	}}
}
