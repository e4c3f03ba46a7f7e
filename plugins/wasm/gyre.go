package wasm

import (
	"bytes"
	"math"
	"time"
	"unicode/utf8"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// The costs of imports in fuel: of any call, and of the bytes that it moves.
const (
	importCost  = 50
	importShift = 4 // 16 bytes cost one unit
	readCost    = 2000
	callCost    = 10_000 // of another server
)

// The most bytes of an argument that is a name or a request to another server, and of the
// entries of a scan. More than that is refused before anybody looks at it.
const (
	maxNameArgument = 1 << 10
	maxRequestBytes = 2 << 20
	maxScanBytes    = 4 << 20
)

// gyreImports are the functions of abi.Module. Letters are those of typeFrom.
func gyreImports() []imported {
	gyre := func(name, letters string, call func(*Instance, []uint64)) imported {
		return imported{abi.Module, name, typeFrom(letters), call}
	}
	return []imported{
		gyre(abi.BatchRead, "iii:i", batchRead),
		gyre(abi.EventBegin, "i:i", eventBegin),
		gyre(abi.EventResult, "iiiii:i", eventResult),
		gyre(abi.Append, "iiIii:i", appendEvents),
		gyre(abi.StateGet, "iiii:i", get(maxNameArgument, plugins.Reads.Get)),
		gyre(abi.StatePut, "iiii:i", statePut),
		gyre(abi.StateDelete, "ii:i", stateDelete),
		gyre(abi.StateScan, "iiiiiii:i", stateScan),
		gyre(abi.StreamRead, "iiIiii:i", streamRead),
		gyre(abi.ConfigGet, "iiii:i", get(maxNameArgument, plugins.Reads.Config)),
		gyre(abi.SecretGet, "iiii:i", get(maxNameArgument, plugins.Reads.Secret)),
		gyre(abi.HTTP, "iiii:i", callHTTP),
		gyre(abi.Log, "iii:", logLine),
		gyre(abi.Metric, "iiiF:i", metric),
		gyre(abi.NowMicros, ":I", func(in *Instance, stack []uint64) { stack[0] = uint64(in.nowMicros()) }),
		gyre(abi.Random, "ii:", func(in *Instance, stack []uint64) { in.fillRandom(stack[0], stack[1]) }),
		gyre(abi.Fail, "iii:", func(in *Instance, stack []uint64) {
			message := in.bytes(stack[1], stack[2])
			stop(Failed, "code %d: %s", int32(stack[0]), plugins.AppendLine(nil, message))
		}),
	}
}

// bytes returns a view of the guest's memory, and charges for it. An address that the guest
// does not have ends it.
func (in *Instance) bytes(at, n uint64) []byte {
	in.tank.charge(int64(uint32(n)) >> importShift)
	view, ok := in.memory.Read(uint32(at), uint32(n))
	if !ok {
		stop(OutOfBounds, "%d bytes at %#x, the memory has %d", uint32(n), uint32(at), in.memory.Size())
	}
	return view
}

// errno stores the answer of an import.
func errno(stack []uint64, e abi.Errno) { stack[0] = uint64(uint32(e)) }

// give copies value to the guest if it fits into capacity, and answers its length.
func (in *Instance) give(stack []uint64, at, capacity uint64, value []byte) {
	into := in.bytes(at, capacity)
	if len(value) <= len(into) {
		copy(into, value)
	}
	stack[0] = uint64(uint32(len(value)))
}

// get is an import that looks something up: (key, length, into, capacity) → length.
func get(most int, lookup func(r plugins.Reads, key []byte) ([]byte, abi.Errno)) func(*Instance, []uint64) {
	return func(in *Instance, stack []uint64) {
		value, e := []byte(nil), abi.TooLarge
		if key := in.bytes(stack[0], stack[1]); len(key) <= most {
			value, e = lookup(in.config.Reads, key)
		}
		if e != abi.OK {
			errno(stack, e)
			return
		}
		in.give(stack, stack[2], stack[3], value)
	}
}

func batchRead(in *Instance, stack []uint64) {
	offset := min(int64(uint32(stack[0])), int64(len(in.batch)))
	part := in.batch[offset:]
	part = part[:min(int64(len(part)), int64(uint32(stack[2])))]
	copy(in.bytes(stack[1], uint64(len(part))), part)
	stack[0] = uint64(len(part))
}

func eventBegin(in *Instance, stack []uint64) {
	index := int(int32(stack[0]))
	if index < in.event || index < 0 || index >= len(in.events) {
		errno(stack, abi.Invalid)
		return
	}
	in.begin(index)
	in.config.Effects.Begin(index)
	errno(stack, abi.OK)
}

func eventResult(in *Instance, stack []uint64) {
	index, action, delay := int(int32(stack[0])), abi.Action(int32(stack[1])), time.Duration(uint32(stack[2]))*time.Millisecond
	message := in.bytes(stack[3], stack[4])
	if index < 0 || index >= len(in.events) {
		errno(stack, abi.Invalid)
		return
	}
	errno(stack, in.config.Effects.Result(index, action, delay, message))
}

// effect stages an effect of the event that was begun last.
func (in *Instance) effect(stack []uint64, stage func(plugins.Effects) abi.Errno) {
	if in.event < 0 {
		errno(stack, abi.Invalid)
		return
	}
	errno(stack, stage(in.config.Effects))
}

func appendEvents(in *Instance, stack []uint64) {
	stream, expected, events := in.bytes(stack[0], stack[1]), int64(stack[2]), in.bytes(stack[3], stack[4])
	errno(stack, in.append(stream, expected, events))
}

// append stages an append of the event that was begun last.
func (in *Instance) append(stream []byte, expected int64, events []byte) abi.Errno {
	if len(stream) > maxNameArgument || len(events) > abi.MaxEffectBytes {
		return abi.TooLarge
	}
	in.tank.charge(int64(countEvents(events)) * importCost)
	if in.event < 0 {
		return abi.Invalid
	}
	return in.config.Effects.Append(in.event, stream, expected, events)
}

// countEvents counts the events up to one that cannot be decoded.
func countEvents(events []byte) (count int) {
	var e abi.Appended
	for len(events) > 0 {
		rest, err := abi.NextEvent(events, &e)
		if err != nil {
			return count
		}
		events = rest
		count++
	}
	return count
}

func statePut(in *Instance, stack []uint64) {
	key, value := in.bytes(stack[0], stack[1]), in.bytes(stack[2], stack[3])
	in.effect(stack, func(e plugins.Effects) abi.Errno { return e.Put(in.event, key, value) })
}

func stateDelete(in *Instance, stack []uint64) {
	key := in.bytes(stack[0], stack[1])
	in.effect(stack, func(e plugins.Effects) abi.Errno { return e.Delete(in.event, key) })
}

func stateScan(in *Instance, stack []uint64) {
	prefix, after := in.bytes(stack[0], stack[1]), in.bytes(stack[2], stack[3])
	into := in.bytes(stack[5], stack[6])
	in.tank.charge(readCost)
	if len(prefix) > abi.MaxStateKeyBytes || len(after) > abi.MaxStateKeyBytes {
		errno(stack, abi.TooLarge)
		return
	}
	entries, e := in.config.Reads.Scan(prefix, after, int(uint32(stack[4])), min(len(into), maxScanBytes))
	in.answer(stack, stack[5], stack[6], entries, e)
}

func streamRead(in *Instance, stack []uint64) {
	stream := in.bytes(stack[0], stack[1])
	in.tank.charge(readCost)
	if len(stream) > maxNameArgument {
		errno(stack, abi.TooLarge)
		return
	}
	limit := min(int(uint32(stack[3])), abi.MaxBatchEvents)
	events, e := in.config.Reads.ReadStream(stream, int64(stack[2]), limit)
	in.answer(stack, stack[4], stack[5], events, e)
}

// kept is a response that the guest has had no room for. When it asks again with more room, it
// gets this one, and no second call is made.
type kept struct {
	event             int
	request, response []byte
}

func callHTTP(in *Instance, stack []uint64) {
	request, most := in.bytes(stack[0], stack[1]), len(in.bytes(stack[2], stack[3]))
	in.tank.charge(callCost)
	if len(request) > maxRequestBytes {
		errno(stack, abi.TooLarge)
		return
	}
	response, e := in.kept.response, abi.OK
	if response == nil || in.kept.event != in.event || !bytes.Equal(in.kept.request, request) {
		in.tank.away(func(within time.Duration) {
			response, e = in.config.Reads.HTTP(in.event, request, within)
		})
	}
	if in.kept = (kept{}); e == abi.OK && len(response) > most {
		in.kept = kept{in.event, bytes.Clone(request), bytes.Clone(response)}
	}
	in.answer(stack, stack[2], stack[3], response, e)
}

// answer gives a value, or the errno if there is one.
func (in *Instance) answer(stack []uint64, at, capacity uint64, value []byte, e abi.Errno) {
	if e != abi.OK {
		errno(stack, e)
		return
	}
	in.give(stack, at, capacity, value)
}

func logLine(in *Instance, stack []uint64) {
	level := min(max(abi.Level(int32(stack[0])), abi.Debug), abi.Error)
	in.log(level, in.bytes(stack[1], stack[2]))
}

func metric(in *Instance, stack []uint64) {
	kind, name, value := abi.Kind(int32(stack[0])), in.bytes(stack[1], stack[2]), math.Float64frombits(stack[3])
	errno(stack, in.report(kind, name, value))
}

// report passes a metric on.
func (in *Instance) report(kind abi.Kind, name []byte, value float64) abi.Errno {
	if kind < abi.Counter || kind > abi.Histogram || len(name) == 0 || len(name) > maxMetricName || !utf8.Valid(name) || math.IsNaN(value) {
		return abi.Invalid
	}
	return in.config.Output.Metric(kind, name, value)
}

const maxMetricName = 128
