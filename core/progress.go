package core

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// Progress moves a client's own place in the log, a record, from one position to another by
// compare-and-set, in the Commit that has it. A client that follows the log and appends what
// it makes of each event together with its Progress has its effect exactly once: of two
// Commits with one name and one From, one is written.
//
// A Commit whose events are known is answered as a Duplicate (P5) if the place has reached
// To, and else with progress_conflict: its events are those of another Commit, which did not
// move the place.
type Progress struct {
	// Name is 1 to MaxProgressNameBytes bytes, with the rules of stream names.
	Name string
	// From is the place that is stored now, 0 if there is none, and To the place to store.
	// Both are positions of $all, and To is greater. The errors are progress_conflict if
	// another place is stored, and invalid_progress if the log has not reached To.
	From, To uint64
	// Log is the log that From and To are places of: its identity, or the timeline of a
	// cursor. The error is log_changed if what the log had up to To is not what it has now.
	// "" is the log as it is. The stored place has the log's identity too, and the error is
	// log_changed if that is another one.
	Log string
	// ID names this move, for a Commit without events and links, which have ids of their
	// own: the same move again is a Duplicate. The zero ID matches no other.
	ID ID
}

// ProgressInfo is a stored place.
type ProgressInfo struct {
	Name     string
	Position uint64
	// Log is the identity of the log that Position is a place of.
	Log string
	// ID is that of the last move; zero if it had none.
	ID ID
	// Moved is when the last move was submitted, by the clock of the node.
	Moved time.Time
}

// From is where a follow goes on. Of the zero ProgressInfo it is the start.
func (p ProgressInfo) From() From { return From{Kind: AfterPosition, N: p.Position, Log: p.Log} }

// ProgressRequest asks for a page of the stored places.
type ProgressRequest struct {
	Prefix string
	After  string // the last name of the page before
	Limit  int    // 1 … MaxReadEvents; 0 is DefaultReadEvents
}

// ProgressPage is the answer to a ProgressRequest, in the byte order of the names.
type ProgressPage struct {
	Progress []ProgressInfo
	End      bool
}

// A place is two records: one by name, which is read, and a mark whose key has the place.
// Engines compare whether a record exists, not what it has, so a move deletes the mark of
// From, which must exist, and puts that of To. A place has exactly one mark, because all
// that writes one record writes the other.
const (
	progressTable = "progress"
	placesTable   = "progress_place"
)

// progressRecord is the value of a record by name.
type progressRecord struct {
	Position uint64    `json:"position"`
	Log      string    `json:"log"`
	ID       string    `json:"id,omitempty"`
	Moved    time.Time `json:"moved"`
}

func placeKey(name, log string, position uint64) string {
	return Cursor{Log: log, Position: position}.String() + " " + name
}

// records returns the operations that make the move in a log.
func (p *Progress) records(log string, now time.Time) []RecordOp {
	r := progressRecord{Position: p.To, Log: log, Moved: now.UTC().Truncate(time.Microsecond)}
	if !p.ID.IsZero() {
		r.ID = p.ID.String()
	}
	value, err := json.Marshal(r)
	if err != nil {
		panic("core: a place cannot be encoded: " + err.Error()) // it is numbers and words
	}
	next := RecordOp{Table: placesTable, Key: placeKey(p.Name, log, p.To), Expect: AnyVersion}
	place := RecordOp{Table: progressTable, Key: p.Name, Expect: NoStream, Value: value}
	if p.From == 0 {
		return []RecordOp{place, next}
	}
	place.Expect = AnyVersion
	last := RecordOp{Table: placesTable, Key: placeKey(p.Name, log, p.From), Expect: StreamExists, Action: DeleteRecord}
	return []RecordOp{last, place, next}
}

// ValidateProgressName checks the name of a place. The error is invalid_progress.
func ValidateProgressName(name string) error {
	if err := validateProgressName(name); err != nil {
		return err
	}
	return nil
}

func validateProgressName(name string) *Error {
	if len(name) > MaxProgressNameBytes || strings.HasPrefix(name, "$") || validateStream(name) != nil {
		return Errorf(CodeInvalidProgress, "%q is not the name of a progress: it has 1 to %d bytes, and does not begin with '$'", Clip(name), MaxProgressNameBytes)
	}
	return nil
}

func (p *Progress) validate() *Error {
	switch {
	case p.To <= p.From || p.To > MaxNumber:
		return Errorf(CodeInvalidProgress, "progress %q cannot move from %d to %d, only to a greater position", Clip(p.Name), p.From, p.To)
	case p.Log != "" && (len(p.Log) > MaxCursorBytes || !isLogID(p.Log)):
		return Errorf(CodeInvalidProgress, "%q is not the id of a log: leave log out, or take that of the stored progress", Clip(p.Log))
	}
	return validateProgressName(p.Name)
}

// reach checks that the log has the place To.
func (p *Progress) reach(state State) error {
	if p.To > state.Head {
		return Errorf(CodeInvalidProgress, "progress %q cannot move to %d, the log has reached %d", Clip(p.Name), p.To, state.Head)
	}
	if p.Log == "" {
		return nil
	}
	return state.checkPlace(p.Log, p.To)
}

// Moves reports whether c does nothing but move a place.
func (c *Commit) Moves() bool { return c.Progress != nil && len(c.Appends) == 0 }

// Moved reports whether p was made, by the place that is stored now: true, or false if
// it was not and From is still stored. The error is unknown_outcome if another move has
// followed one of the two.
func (p *Progress) Moved(ctx context.Context, r RecordReader) (bool, error) {
	now, _, err := readProgress(ctx, r, p.Name)
	switch {
	case err != nil:
		return false, err
	case p.made(now):
		return true, nil
	case now.Position == p.From:
		return false, nil
	}
	return false, Errorf(CodeUnknownOutcome, "progress %q is at %d, and may have been moved from %d to %d before", Clip(p.Name), now.Position, p.From, p.To)
}

// RecordReader reads records: a Store, or a router before many.
type RecordReader interface {
	Records(ctx context.Context, r RecordsRequest) ([]Record, error)
}

// ReadProgress returns the place with a name, or not_found.
func ReadProgress(ctx context.Context, r RecordReader, name string) (ProgressInfo, error) {
	if err := ValidateProgressName(name); err != nil {
		return ProgressInfo{}, err
	}
	info, _, err := readProgress(ctx, r, name)
	if err == nil && info.Position == 0 {
		err = Errorf(CodeNotFound, "there is no progress %q", Clip(name))
	}
	return info, err
}

// readProgress returns the place with a name and the revision of its record, both zero if
// there is none.
func readProgress(ctx context.Context, r RecordReader, name string) (ProgressInfo, uint64, error) {
	found, err := r.Records(ctx, RecordsRequest{Table: progressTable, Keys: []string{name}, Limit: 1})
	if err != nil || len(found) == 0 {
		return ProgressInfo{Name: name}, 0, err
	}
	info, err := decodeProgress(found[0])
	return info, found[0].Revision, err
}

func decodeProgress(r Record) (ProgressInfo, error) {
	var v progressRecord
	err := json.Unmarshal(r.Value, &v)
	info := ProgressInfo{Name: r.Key, Position: v.Position, Log: v.Log, Moved: v.Moved}
	if err == nil && v.ID != "" {
		info.ID, err = ParseID(v.ID)
	}
	if err != nil {
		return info, Errorf(CodeStoreCorrupt, "the record of progress %q cannot be read: %w", Clip(r.Key), err)
	}
	return info, nil
}

// ListProgress returns a page of the stored places.
func ListProgress(ctx context.Context, r RecordReader, q ProgressRequest) (ProgressPage, error) {
	if err := ValidateListing(q.Prefix, q.After); err != nil {
		return ProgressPage{}, err
	}
	limit := pageLimit(q.Limit)
	found, err := r.Records(ctx, RecordsRequest{Table: progressTable, Prefix: q.Prefix, After: q.After, Limit: limit})
	page := ProgressPage{End: len(found) < limit}
	for i := 0; err == nil && i < len(found); i++ {
		var info ProgressInfo
		info, err = decodeProgress(found[i])
		page.Progress = append(page.Progress, info)
	}
	return page, err
}

// ProgressStore reads records and makes Commits.
type ProgressStore interface {
	RecordReader
	Append(ctx context.Context, c Commit) (Result, error)
}

// deleteTries bounds how often DeleteProgress reads a place that moves meanwhile.
const deleteTries = 10

// DeleteProgress removes a place, so that the next move is one from 0. The error is
// not_found if there is none, and progress_conflict if it never stood still.
func DeleteProgress(ctx context.Context, s ProgressStore, name string) error {
	if err := ValidateProgressName(name); err != nil {
		return err
	}
	for range deleteTries {
		info, revision, err := readProgress(ctx, s, name)
		switch {
		case err != nil:
			return err
		case revision == 0:
			return Errorf(CodeNotFound, "there is no progress %q", Clip(name))
		}
		// The mark must be that of the place: the revisions of a record that was deleted and
		// made again begin again.
		_, err = s.Append(ctx, Commit{Records: []RecordOp{
			{Table: progressTable, Key: name, Expect: Expect(revision), Action: DeleteRecord},
			{Table: placesTable, Key: placeKey(name, info.Log, info.Position), Expect: StreamExists, Action: DeleteRecord},
		}})
		if !errors.Is(err, CodeRecordConflict) {
			return err
		}
	}
	return Errorf(CodeProgressConflict, "progress %q moved whenever it was to be deleted", Clip(name))
}

// AdoptProgress gives all stored places the identity that the log has now, after a restore has
// replaced it. Nobody else may write meanwhile.
func AdoptProgress(ctx context.Context, e Engine) error {
	log := e.State().Log
	for r := (RecordsRequest{Table: progressTable, Limit: MaxCommitRecords / 3}); ; {
		found, err := e.Records(ctx, r)
		if err != nil {
			return err
		}
		var c Commit
		for _, record := range found {
			if c.Records, err = adoptProgress(c.Records, record, log); err != nil {
				return err
			}
		}
		if len(c.Records) > 0 {
			if o := e.Commit(ctx, []*Commit{&c}).Outcomes[0]; o.Err != nil {
				return o.Err
			}
		}
		if len(found) < r.Limit {
			return nil
		}
		r.After = found[len(found)-1].Key
	}
}

// adoptProgress appends the operations that give a place the identity log.
func adoptProgress(ops []RecordOp, record Record, log string) ([]RecordOp, error) {
	info, err := decodeProgress(record)
	if err != nil || info.Log == log {
		return ops, err
	}
	p := Progress{Name: info.Name, From: info.Position, To: info.Position, ID: info.ID}
	move := p.records(log, info.Moved)
	move[0].Key = placeKey(info.Name, info.Log, info.Position)
	return append(ops, move...), nil
}

// ProgressFrom returns a From that names a progress as the place that is stored, and any
// other as it is. A progress that is not there begins at the start.
func ProgressFrom(ctx context.Context, r RecordReader, from From) (From, error) {
	if from.Kind != AfterProgress {
		return from, nil
	}
	if err := ValidateProgressName(from.Progress); err != nil {
		return From{}, err
	}
	info, _, err := readProgress(ctx, r, from.Progress)
	return info.From(), err
}

// outcome is the answer to a Commit with p, by what the engine has answered and the place
// that is stored now.
func (p *Progress) outcome(o Outcome, now ProgressInfo, log string) Outcome {
	isDuplicate := o.Err == nil
	switch {
	case isDuplicate && now.Position >= p.To:
		return o
	case p.made(now):
		return Outcome{Result: Result{Duplicate: true}}
	case now.Position > 0 && now.Log != log:
		return Outcome{Err: Errorf(CodeLogChanged, "progress %q is at position %d of log %q, this is log %q",
			Clip(p.Name), now.Position, now.Log, log)}
	}
	e := p.conflict(now)
	if isDuplicate {
		e.Detail += ", and the events are in the log by an append that did not move it"
	}
	return Outcome{Err: e}
}

// made reports whether p is the last move.
func (p *Progress) made(now ProgressInfo) bool {
	return now.Position == p.To && now.ID == p.ID && !p.ID.IsZero()
}

func (p *Progress) conflict(now ProgressInfo) *Error {
	from := Expect(p.From)
	e := Errorf(CodeProgressConflict, "progress %q is at %d, expected %d", Clip(p.Name), now.Position, p.From)
	if now.Position == 0 {
		e.Detail = "there is no progress \"" + Clip(p.Name) + "\", expected it at " + from.String()
	}
	e.Expected, e.Actual = &from, &now.Position
	return e
}

// progressLookup bounds the reads of a step that has Commits with a Progress.
const progressLookup = 5 * time.Second

// checkPlaces answers the Commits of a group whose Progress the log has not reached, and
// returns the others. Of a log that others write to, the engine may know an older head than
// a client that followed at another node: then storage is asked.
func (c *committer) checkPlaces(group []*pending) []*pending {
	furthest := uint64(0)
	for _, p := range group {
		if p.commit.Progress != nil {
			furthest = max(furthest, p.commit.Progress.To)
		}
	}
	if furthest == 0 {
		return group
	}
	state := c.engine.State()
	var unknown error
	if furthest > state.Head && c.tail.isShared() {
		var head uint64
		head, unknown = c.readHead()
		state.Head = max(state.Head, head)
	}
	kept := group[:0]
	for _, p := range group {
		var err error
		if p.commit.Progress != nil {
			if err = p.commit.Progress.reach(state); err != nil && unknown != nil {
				err = AsError(unknown)
			}
		}
		if err != nil {
			c.answer(p, Outcome{Err: err})
			continue
		}
		kept = append(kept, p)
	}
	clear(group[len(kept):])
	return kept
}

// readHead reads the log's head from storage.
func (c *committer) readHead() (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), progressLookup)
	defer cancel()
	page, err := c.engine.Read(ctx, ReadRequest{Stream: All, Backward: true, Limit: Limit{Events: 1, Bytes: 1}})
	return page.Version, err
}

// asksPlace reports whether the answer to p depends on the place that is stored now: the
// engine compares marks, and answers a known Commit without its records.
func (p *pending) asksPlace(o *Outcome) bool {
	if p.commit.Progress == nil {
		return false
	}
	return o.Err == nil && o.Result.Duplicate || errors.Is(o.Err, CodeRecordConflict)
}

// answerByPlace answers the Commits of a step that ask for their place.
func (c *committer) answerByPlace(group []asking) {
	for some := range slices.Chunk(group, MaxReadEvents) {
		places, err := c.readPlaces(some)
		log := c.engine.State().Log
		for _, a := range some {
			o := Outcome{Err: err}
			if err == nil {
				progress := a.commit.Progress
				o = progress.outcome(a.outcome, places[progress.Name], log)
			}
			c.answer(a.pending, o)
		}
	}
}

// asking is a Commit that asks for its place, and what the engine has answered.
type asking struct {
	*pending
	outcome Outcome
}

// readPlaces returns the places of Commits by name.
func (c *committer) readPlaces(group []asking) (map[string]ProgressInfo, error) {
	ctx, cancel := context.WithTimeout(context.Background(), progressLookup)
	defer cancel()
	r := RecordsRequest{Table: progressTable, Limit: MaxReadEvents}
	for _, a := range group {
		r.Keys = append(r.Keys, a.commit.Progress.Name)
	}
	found, err := c.engine.Records(ctx, r)
	if err != nil {
		return nil, AsError(err)
	}
	places := make(map[string]ProgressInfo, len(found))
	for i := range found {
		if places[found[i].Key], err = decodeProgress(found[i]); err != nil {
			return nil, err
		}
	}
	return places, nil
}
