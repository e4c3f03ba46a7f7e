package ringtest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

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
	const histories = 1000
	good := 0
	for seed := range uint64(histories) {
		h, operations := random(rand.New(rand.NewPCG(seed, 0)))
		linearizable := porcupine.CheckOperations(list, operations)
		if linearizable {
			good++
		}
		if err := index(h).checkStreams(); (err == nil) != linearizable {
			t.Fatalf("seed %d: porcupine says %v, the checker %v, of %+v", seed, linearizable, err, operations)
		}
	}
	if good < histories/4 || good > histories*3/4 {
		t.Errorf("%d of %d histories are linearizable", good, histories)
	}
}

// random makes a history of a stream: of appends, some with an unknown outcome, and of reads.
// Each takes effect within its time, unless it is moved by chance.
func random(r *rand.Rand) (*History, []porcupine.Operation) {
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
	for range 2 + r.IntN(10) {
		moment += 10
		s := step{call: moment - time.Duration(1+r.IntN(15)), end: moment + time.Duration(1+r.IntN(15))}
		if r.IntN(6) == 0 {
			s.call, s.end = s.call+30, s.end+30
		}
		if r.IntN(2) == 0 {
			s.length, s.look = length, true
			add(s)
			h.Reads = append(h.Reads, &Read{Stream: "s", Version: length, Invoked: s.call, Returned: s.end})
			continue
		}
		length++
		s.length = length
		a := &Append{Number: int(length), Invoked: s.call, Returned: s.end}
		if r.IntN(5) == 0 {
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
