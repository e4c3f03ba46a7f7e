package wasm

import (
	"encoding/binary"
	"math"
)

const wasiModule = "wasi_snapshot_preview1"

// Errnos of WASI.
const (
	wasiOK      = 0
	wasiBadFile = 8
	wasiInvalid = 28
	wasiMissing = 52 // there is no such function
	wasiNoSeek  = 70
)

// wasiImports are the functions of WASI that the runtimes of languages need to start. They
// have fixed answers: no files, arguments, environment, clock or randomness of the node.
func wasiImports() []imported {
	return []imported{
		wasi("args_get", "ii:i", fixed(wasiOK)),
		wasi("args_sizes_get", "ii:i", noneGiven),
		wasi("environ_get", "ii:i", fixed(wasiOK)),
		wasi("environ_sizes_get", "ii:i", noneGiven),
		wasi("clock_time_get", "iIi:i", clockTime),
		wasi("random_get", "ii:i", func(in *Instance, stack []uint64) {
			in.fillRandom(stack[0], stack[1])
			stack[0] = wasiOK
		}),
		wasi("poll_oneoff", "iiii:i", poll),
		wasi("sched_yield", ":i", fixed(wasiOK)),
		wasi("proc_exit", "i:", procExit),
		wasi("fd_write", "iiii:i", fdWrite),
		wasi("fd_close", "i:i", fixed(wasiBadFile)),
		wasi("fd_seek", "iIii:i", fixed(wasiNoSeek)),
		wasi("fd_fdstat_get", "ii:i", fdStat),
		wasi("fd_fdstat_set_flags", "ii:i", func(_ *Instance, stack []uint64) { stack[0] = badUnless(isStandard(stack[0])) }),
		wasi("fd_prestat_get", "ii:i", fixed(wasiBadFile)),
		wasi("fd_prestat_dir_name", "iii:i", fixed(wasiBadFile)),
	}
}

func wasi(name, letters string, call func(*Instance, []uint64)) imported {
	return imported{wasiModule, name, typeFrom(letters), call}
}

// maxVectors is the most buffers of fd_read and fd_write, and subscriptions of poll_oneoff: what POSIX
// calls IOV_MAX.
const maxVectors = 1024

func fixed(answer uint64) func(*Instance, []uint64) {
	return func(_ *Instance, stack []uint64) { stack[0] = answer }
}

func isStandard(fd uint64) bool { return uint32(fd) <= 2 }

func badUnless(ok bool) uint64 {
	if ok {
		return wasiOK
	}
	return wasiBadFile
}

// noneGiven answers that there are no arguments or variables: their number and size are 0.
func noneGiven(in *Instance, stack []uint64) {
	clear(in.bytes(stack[0], 4))
	clear(in.bytes(stack[1], 4))
	stack[0] = wasiOK
}

// clockTime answers logical time. The monotonic clock moves only by sleeping.
func clockTime(in *Instance, stack []uint64) {
	var now int64
	switch uint32(stack[0]) {
	case 0:
		now = in.nowMicros() * 1000
	case 1:
		now = in.slept
	default:
		stack[0] = wasiInvalid
		return
	}
	binary.LittleEndian.PutUint64(in.bytes(stack[2], 8), uint64(now))
	stack[0] = wasiOK
}

// fdRead hands out the standard input.
func fdRead(in *Instance, stack []uint64) {
	if uint32(stack[0]) != 0 {
		stack[0] = wasiBadFile
		return
	}
	in.vectors(stack, func(into []byte) int { return in.readInput(into) })
}

// fdWrite logs what a guest prints. What a command writes to its standard output are effects.
func fdWrite(in *Instance, stack []uint64) {
	fd := uint32(stack[0])
	if fd != 1 && fd != 2 {
		stack[0] = wasiBadFile
		return
	}
	in.vectors(stack, func(text []byte) int {
		if fd == 1 && in.program.isCommand() {
			if err := in.writeOutput(text); err != nil {
				panic(err)
			}
		} else {
			in.write(text)
		}
		return len(text)
	})
}

// vectors does something with each buffer that fd_read or fd_write is given, up to one that is not
// used up, and answers how many bytes were.
func (in *Instance) vectors(stack []uint64, use func(buffer []byte) int) {
	const vectorBytes = 8
	n := uint64(uint32(stack[2]))
	if n > maxVectors {
		stack[0] = wasiInvalid
		return
	}
	vectors := in.bytes(stack[1], n*vectorBytes)
	used := 0
	for ; len(vectors) > 0; vectors = vectors[vectorBytes:] {
		at, size := binary.LittleEndian.Uint32(vectors), binary.LittleEndian.Uint32(vectors[4:])
		did := use(in.bytes(uint64(at), uint64(size)))
		if used += did; did < int(size) {
			break
		}
	}
	binary.LittleEndian.PutUint32(in.bytes(stack[3], 4), uint32(used))
	stack[0] = wasiOK
}

// fdStat says that the standard files are terminals that can be read and written.
func fdStat(in *Instance, stack []uint64) {
	const characterDevice, mayRead, mayWrite = 2, 1 << 1, 1 << 6
	if !isStandard(stack[0]) {
		stack[0] = wasiBadFile
		return
	}
	stat := in.bytes(stack[1], 24)
	clear(stat)
	stat[0] = characterDevice
	binary.LittleEndian.PutUint64(stat[8:], mayRead|mayWrite)
	stack[0] = wasiOK
}

// The layout of a subscription and an event of poll_oneoff.
const (
	subscriptionBytes = 48
	pollEventBytes    = 32
	pollClock         = 0
)

// poll moves the monotonic clock to the nearest of the times that a guest waits for, and
// answers which have come. Waiting for a file is an error at once.
func poll(in *Instance, stack []uint64) {
	n := uint64(uint32(stack[2]))
	if n == 0 || n > maxVectors {
		stack[0] = wasiInvalid
		return
	}
	subscriptions, events := in.bytes(stack[0], n*subscriptionBytes), in.bytes(stack[1], n*pollEventBytes)
	start, nearest := in.slept, int64(math.MaxInt64)
	for s := subscriptions; len(s) > 0; s = s[subscriptionBytes:] {
		nearest = min(nearest, due(s, start))
	}
	in.slept = max(start, nearest)
	count := uint32(0)
	for s := subscriptions; len(s) > 0; s = s[subscriptionBytes:] {
		if due(s, start) > in.slept {
			continue
		}
		event := events[count*pollEventBytes:][:pollEventBytes]
		user, kind := binary.LittleEndian.Uint64(s), s[8]
		clear(event)
		binary.LittleEndian.PutUint64(event, user)
		if event[10] = kind; kind != pollClock {
			event[8] = wasiBadFile
		}
		count++
	}
	binary.LittleEndian.PutUint32(in.bytes(stack[3], 4), count)
	stack[0] = wasiOK
}

// due returns when a subscription of poll_oneoff ends, on the monotonic clock.
func due(subscription []byte, now int64) int64 {
	const absolute = 1
	if subscription[8] != pollClock {
		return now
	}
	timeout := binary.LittleEndian.Uint64(subscription[24:])
	if binary.LittleEndian.Uint16(subscription[40:])&absolute != 0 {
		return int64(min(timeout, math.MaxInt64))
	}
	return now + int64(min(timeout, uint64(math.MaxInt64-now)))
}
