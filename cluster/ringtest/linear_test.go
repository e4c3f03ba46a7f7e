package ringtest

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"

	"github.com/gyre-events/gyre/core"
)

// list is porcupine's model of a stream: its length. An append is at the length that the log
// says, so what is left to decide is the order.
var list = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, _ any) (bool, any) {
		length, s := state.(uint64), input.(step)
		if s.look {
			return s.length == length, length
		}
		return s.length == length+1, length + 1
	},
}

// TestPorcupineAgrees compares the linear-time checker with an exhaustive one, over random
// histories of a stream, of which about half are not linearizable.
func TestPorcupineAgrees(t *testing.T) {
	verdicts := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		h, operations := random(t)
		linearizable := porcupine.CheckOperations(list, operations)
		verdicts[linearizable]++
		if err := index(h).checkStreams(); (err == nil) != linearizable {
			t.Fatalf("porcupine says %v, the checker %v, of %+v", linearizable, err, operations)
		}
	})
	if verdicts[true] < 10 || verdicts[false] < 10 {
		t.Errorf("the histories are one-sided: %v", verdicts)
	}
}

// random makes a history of a stream: of appends, some with an unknown outcome, and of reads.
// Each takes effect within its time, unless the draw moves it.
func random(t *rapid.T) (*History, []porcupine.Operation) {
	h := &History{}
	var operations []porcupine.Operation
	moment, length := time.Duration(0), uint64(0)
	add := func(s step) {
		returns := int64(s.end)
		if s.end == never {
			returns = int64(time.Hour)
		}
		operations = append(operations, porcupine.Operation{ClientId: len(operations), Input: s, Call: int64(s.call), Return: returns})
	}
	for range rapid.IntRange(2, 12).Draw(t, "calls") {
		moment += 10
		s := step{
			call: moment - time.Duration(rapid.IntRange(1, 25).Draw(t, "before")),
			end:  moment + time.Duration(rapid.IntRange(1, 25).Draw(t, "after")),
		}
		if rapid.IntRange(0, 4).Draw(t, "moved") == 0 {
			s.call, s.end = s.call+20, s.end+20
		}
		if rapid.Bool().Draw(t, "read") {
			s.length, s.look = length, true
			add(s)
			h.Reads = append(h.Reads, &Read{Stream: "s", Version: length, Invoked: s.call, Returned: s.end})
			continue
		}
		length++
		s.length = length
		a := &Append{Number: int(length), Invoked: s.call, Returned: s.end}
		if rapid.IntRange(0, 4).Draw(t, "unknown") == 0 {
			s.end = never
			a.Err = core.Errorf(core.CodeUnknownOutcome, "lost")
		}
		add(s)
		event := Event(a.Number, core.NewID(), "T")
		h.Appends = append(h.Appends, a)
		h.Log = append(h.Log, core.Event{Stream: "s", Version: length, Position: length, ID: event.ID, Data: event.Data})
	}
	return h, operations
}
