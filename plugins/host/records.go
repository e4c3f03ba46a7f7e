package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// What is stored, all of it by Commits:
//
//	table                    key                      value       written by
//	plugin_bindings          binding                  binding     who deploys; compare-and-set
//	plugin_others            binding/beside           binding     who rebuilds; compare-and-set
//	                         binding/before           binding     who switches; compare-and-set
//	plugin_lanes             binding/generation/lane  laneRecord  the lane, with every effect
//	                         …/fence                  nothing     the lane, when it was read
//	plugin_traces            incarnation/position     trace       the lane that parks an event
//	state/BINDING/GENERATION lane/key                 as it is    the lane
//	plugin_runs              binding                  nothing     a runner, while it runs
//	                         binding/generation       nothing     that of a generation beside
//	plugin_generations       binding                  the last    who deletes it, or rebuilds
//	plugin_sweeps            binding/generation       nothing     who ends a generation
//
// Numbers in keys are in hex, of fixed width. A binding that is deleted and made again goes
// on counting its generations, so that its ids and state are never those of the one before.
const (
	bindingsTable    = plugins.BindingsTable
	othersTable      = "plugin_others"
	lanesTable       = "plugin_lanes"
	runsTable        = "plugin_runs"
	generationsTable = plugins.GenerationsTable
	sweepsTable      = "plugin_sweeps"
)

// role is what a generation of a binding is.
type role string

const (
	roleLive   role = ""       // what everybody sees of the binding
	roleBeside role = "beside" // a rebuild makes it
	roleBefore role = "before" // it was live before the last switch, and is at rest
)

// record is where the generation of a role is stored.
func (r role) record(name string) (table, key string) {
	if r == roleLive {
		return bindingsTable, name
	}
	return othersTable, name + "/" + string(r)
}

// binding is a generation of a binding as it is stored.
type binding struct {
	plugins.Binding
	// Incarnation is that of its subscription: one for each generation.
	Incarnation string `json:"incarnation"`
	// Start is the position that it began behind.
	Start uint64 `json:"start,omitzero"`
	// HeldBack is, for each lane, what of its appends is held back after a rebuild. Lane and
	// partition key go together for ever.
	HeldBack []heldBack `json:"heldBack,omitempty"`
	// Shadow is the version that runs in the shadow of this one; nil if there is none.
	Shadow *shadowed `json:"shadow,omitempty"`
	// Redeployed says that its version was changed since it is live: a rollback undoes that.
	Redeployed bool `json:"redeployed,omitzero"`
	// Rebuild is what was asked for, of a generation beside.
	Rebuild *rebuild `json:"rebuild,omitempty"`
	// Rest is how it was when it was live last, of the generation before.
	Rest *rest `json:"rest,omitempty"`

	role     role
	revision uint64
}

// rebuild is how a generation beside was asked for.
type rebuild struct {
	Began     time.Time `json:"began"`
	Hold      bool      `json:"hold,omitzero"`
	EmitAgain bool      `json:"emitAgain,omitzero"`
}

// rest is how a generation was when it was live last.
type rest struct {
	Until      time.Time `json:"until"`
	Checkpoint uint64    `json:"checkpoint"` // the lowest of its lanes'
	StateBytes int64     `json:"stateBytes"`
}

// generations are those of a binding; nil where there is none beside or before.
type generations struct{ live, beside, before *binding }

// record is where it is stored.
func (b *binding) record() (table, key string) { return b.role.record(b.Name) }

// put replaces the record of a binding.
func (b *binding) put() core.RecordOp {
	table, key := b.record()
	return put(table, key, at(b.revision), b)
}

// remove deletes the record of a binding.
func (b *binding) remove() core.RecordOp {
	table, key := b.record()
	return remove(table, key, at(b.revision))
}

// check has a Commit made only if the record is as it was read.
func (b *binding) check() core.RecordOp {
	table, key := b.record()
	return core.RecordOp{Table: table, Key: key, Expect: at(b.revision), Action: core.CheckRecord}
}

// runKey is that of the note that it runs. The live generation has the binding's, whichever it is.
func (b *binding) runKey() string {
	if b.role == roleLive {
		return b.Name
	}
	return generationKey(b.Name, b.Generation)
}

// heldBack are events whose appends a lane holds back: an earlier generation has made them.
type heldBack struct {
	UpTo uint64 `json:"upTo"` // where the lane of the generation before was
	// Except are those that were parked, in the order of positions: no generation has made
	// their appends.
	Except []uint64 `json:"except,omitempty"`
}

// has reports whether the event at a position is among them.
func (h *heldBack) has(position uint64) bool {
	_, excepted := slices.BinarySearch(h.Except, position)
	return position <= h.UpTo && !excepted
}

// laneRecord is the truth about a lane. Every Commit of the lane compares and replaces it.
type laneRecord struct {
	Generation uint64 `json:"generation"`
	Version    string `json:"version"` // the SHA-256 of its module
	Checkpoint uint64 `json:"checkpoint"`
	// Attempts have failed, or were not ended, of the event behind the checkpoint.
	Attempts   int               `json:"attempts,omitempty"`
	Reason     string            `json:"reason,omitempty"` // of the last of them
	History    []plugins.Attempt `json:"history,omitempty"`
	StateBytes int64             `json:"stateBytes,omitempty"`
}

func generationKey(name string, generation uint64) string {
	return fmt.Sprintf("%s/%016x", name, generation)
}

func laneKey(name string, generation uint64, lane int) string {
	return fmt.Sprintf("%s/%02x", generationKey(name, generation), lane)
}

// fenceKey is that of the fence of a lane (L13).
func fenceKey(lane string) string { return lane + "/fence" }

// stateTable is the table of a generation's state.
func stateTable(name string, generation uint64) string {
	return fmt.Sprintf("state/%s/%x", name, generation)
}

// statePrefix is what the keys of a lane's state begin with.
func statePrefix(lane int) string { return fmt.Sprintf("%02x/", lane) }

// put is an operation that writes a value in JSON.
func put(table, key string, expect core.Expect, value any) core.RecordOp {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("host: record %s/%s: %v", table, key, err)) // all of them are plain structs
	}
	return core.RecordOp{Table: table, Key: key, Expect: expect, Value: text}
}

func remove(table, key string, expect core.Expect) core.RecordOp {
	return core.RecordOp{Table: table, Key: key, Expect: expect, Action: core.DeleteRecord}
}

// at is the expectation of a record at a revision, which is 0 where there is none.
func at(revision uint64) core.Expect { return core.Expect(revision) }

// record reads one record, or nil if there is none.
func (h *Host) record(ctx context.Context, table, key string) (*core.Record, error) {
	found, err := h.config.Store.Records(ctx, core.RecordsRequest{Table: table, Keys: []string{key}, Limit: 1})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func decode(table string, r *core.Record, value any) error {
	if err := json.Unmarshal(r.Value, value); err != nil {
		return core.Errorf(core.CodeInternal, "the record %s/%s: %w", table, r.Key, err)
	}
	return nil
}

// binding reads a binding. The error is binding_not_found if there is none.
func (h *Host) binding(ctx context.Context, name string) (*binding, error) {
	return h.generation(ctx, name, roleLive)
}

// generation reads the generation of a binding that has a role. The error is binding_not_found if
// there is none.
func (h *Host) generation(ctx context.Context, name string, is role) (*binding, error) {
	table, key := is.record(name)
	r, err := h.record(ctx, table, key)
	switch {
	case err != nil:
		return nil, err
	case r == nil && is != roleLive:
		return nil, core.Errorf(core.CodeBindingNotFound, "the binding %q has no generation %s", core.Clip(name), is)
	case r == nil:
		return nil, noBinding(name)
	}
	return decodeBinding(table, r)
}

func noBinding(name string) error {
	return core.Errorf(core.CodeBindingNotFound, "there is no plugin binding %q", core.Clip(name))
}

// others reads the generations of a binding that are not live; nil where there is none.
func (h *Host) others(ctx context.Context, name string) (beside, before *binding, err error) {
	_, first := roleBeside.record(name)
	_, second := roleBefore.record(name)
	found, err := h.config.Store.Records(ctx, core.RecordsRequest{Table: othersTable, Keys: []string{first, second}, Limit: 2})
	for i := range found {
		b, wrong := decodeBinding(othersTable, &found[i])
		switch {
		case wrong != nil:
			return nil, nil, wrong
		case b.role == roleBeside:
			beside = b
		default:
			before = b
		}
	}
	return beside, before, err
}

// bindingRecord reads the record of a binding. The error is binding_not_found if there is none.
func (h *Host) bindingRecord(ctx context.Context, name string) (*core.Record, error) {
	r, err := h.record(ctx, bindingsTable, name)
	if err == nil && r == nil {
		err = noBinding(name)
	}
	return r, err
}

func decodeBinding(table string, r *core.Record) (*binding, error) {
	name, is, _ := strings.Cut(r.Key, "/") // no binding has a slash in its name
	b := &binding{role: role(is), revision: r.Revision}
	err := json.Unmarshal(r.Value, b)
	if err == nil && (b.Name != name || b.Subscription != name || b.Lanes < 1 || b.Lanes > plugins.MaxLanes) {
		err = errors.New("it is of another binding, or its lanes are out of bounds")
	}
	if err != nil {
		return nil, core.Errorf(core.CodeStoreCorrupt, "the record %s/%s cannot be read: %w; gyre plugin rm %s deletes the binding", table, r.Key, err, name)
	}
	return b, nil
}

// storedLane is a lane as it is stored; the zero one at revision 0 if it has committed nothing.
type storedLane struct {
	laneRecord
	revision uint64
	fence    uint64 // the revision of its fence
}

// lanes reads all lanes of a binding.
func (h *Host) lanes(ctx context.Context, b *binding) ([]storedLane, error) {
	return h.lanesFrom(ctx, b, 0, b.Lanes)
}

// lanesFrom reads the lanes from one number on, up to another.
func (h *Host) lanesFrom(ctx context.Context, b *binding, from, to int) ([]storedLane, error) {
	var keys []string
	for i := from; i < to; i++ {
		key := laneKey(b.Name, b.Generation, i)
		keys = append(keys, key, fenceKey(key))
	}
	found, err := h.config.Store.Records(ctx, core.RecordsRequest{Table: lanesTable, Keys: keys, Limit: len(keys)})
	if err != nil {
		return nil, err
	}
	lanes := make([]storedLane, to-from)
	byKey := make(map[string]*core.Record, len(found))
	for i := range found {
		byKey[found[i].Key] = &found[i]
	}
	for i := range lanes {
		key := keys[2*i]
		if r := byKey[key]; r != nil {
			lanes[i].revision = r.Revision
			if err := decode(lanesTable, r, &lanes[i].laneRecord); err != nil {
				return nil, err
			}
		}
		if r := byKey[fenceKey(key)]; r != nil {
			lanes[i].fence = r.Revision
		}
	}
	return lanes, nil
}
