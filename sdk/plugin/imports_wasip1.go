package plugin

import (
	"runtime"
	"unsafe"

	"github.com/gyre-events/gyre/plugins/abi"
)

// registered is the handler of the module.
var registered Handler

// Handle registers the handler of the plugin. Call it once, in an init function: the host runs
// those, and not main.
func Handle(h Handler) { registered = h }

// The functions of the module that judge events; nil are those that it is not for.
var (
	filter    FilterFunc
	mapData   MapFunc
	partition PartitionFunc
	validate  ValidateFunc
)

// Filter registers the filter of the plugin. Call it once, in an init function.
func Filter(f FilterFunc) { filter = f }

// Map registers the map of the plugin. Call it once, in an init function.
func Map(f MapFunc) { mapData = f }

// Partition registers the partitioner of the plugin. Call it once, in an init function.
func Partition(f PartitionFunc) { partition = f }

// Validate registers the validator of the plugin. Call it once, in an init function.
func Validate(f ValidateFunc) { validate = f }

// buffers outlive a batch: the room for answers and for events to append.
var buffers Context

//go:wasmexport gyre_handle
func gyreHandle(length, _, _ int32) int32 {
	return inBatch(length, func(batch []byte) abi.Verdict { return buffers.run(registered, batch) })
}

//go:wasmexport gyre_filter
func gyreFilter(length, _, _ int32) int32 { return judge(length, filter, filter != nil) }

//go:wasmexport gyre_map
func gyreMap(length, _, _ int32) int32 { return judge(length, mapData, mapData != nil) }

//go:wasmexport gyre_partition
func gyrePartition(length, _, _ int32) int32 { return judge(length, partition, partition != nil) }

//go:wasmexport gyre_validate
func gyreValidate(length, _, _ int32) int32 { return judge(length, validate, validate != nil) }

func judge(length int32, j Judge, isRegistered bool) int32 {
	if !isRegistered {
		buffers.Log(Error, "no function of this kind is registered: call plugin.Filter, Map, Partition or Validate in an init function")
		return int32(failed)
	}
	return inBatch(length, func(batch []byte) abi.Verdict { return buffers.runJudge(j, batch) })
}

// inBatch reads the batch of a call, and hands it to do.
func inBatch(length int32, do func(batch []byte) abi.Verdict) int32 {
	// Each batch has memory of its own, so that what a handler keeps of it stays as it is.
	batch := make([]byte, length)
	if n := importBatchRead(0, unsafe.Pointer(unsafe.SliceData(batch)), length); n != length {
		return int32(failed)
	}
	verdict := do(batch)
	runtime.Gosched() // lets the garbage collector work
	return int32(verdict)
}

// RunQuery runs a QueryFunc. It is what package query is made of.
func RunQuery(f QueryFunc, length int32) int32 {
	return inBatch(length, func(query []byte) abi.Verdict { return buffers.runQuery(f, query) })
}

//go:wasmexport gyre_abi_1
func gyreABI1() {}

// hostSide is empty: imports go to the host. The linker leaves out those that a plugin does
// not use, so a module's imports say what it does.
type hostSide struct{}

func at(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

//go:wasmimport gyre_1 batch_read
func importBatchRead(offset int32, into unsafe.Pointer, capacity int32) int32

//go:wasmimport gyre_1 event_begin
func importEventBegin(index int32) int32

func (c *Context) beginEvent(index int) { importEventBegin(int32(index)) }

//go:wasmimport gyre_1 event_result
func importEventResult(index, action int32, delayMs uint32, message string) int32

func (c *Context) eventResult(index int, action abi.Action, delayMs uint32, message string) {
	importEventResult(int32(index), int32(action), delayMs, message)
}

//go:wasmimport gyre_1 append
func importAppend(stream string, expected int64, events unsafe.Pointer, length int32) int32

func (c *Context) appendEvents(stream string, expected int64, events []byte) int32 {
	return importAppend(stream, expected, at(events), int32(len(events)))
}

//go:wasmimport gyre_1 state_get
func importStateGet(key string, into unsafe.Pointer, capacity int32) int32

func (c *Context) stateGet(key string, into []byte) int32 {
	return importStateGet(key, at(into), int32(len(into)))
}

//go:wasmimport gyre_1 state_put
func importStatePut(key string, value unsafe.Pointer, length int32) int32

func (c *Context) statePut(key string, value []byte) int32 {
	return importStatePut(key, at(value), int32(len(value)))
}

//go:wasmimport gyre_1 state_del
func importStateDelete(key string) int32

func (c *Context) stateDelete(key string) int32 { return importStateDelete(key) }

//go:wasmimport gyre_1 state_scan
func importStateScan(prefix, after string, limit int32, into unsafe.Pointer, capacity int32) int32

func (c *Context) stateScan(prefix, after string, limit int32, into []byte) int32 {
	return importStateScan(prefix, after, limit, at(into), int32(len(into)))
}

//go:wasmimport gyre_1 stream_read
func importStreamRead(stream string, from int64, limit int32, into unsafe.Pointer, capacity int32) int32

func (c *Context) streamRead(stream string, from int64, limit int32, into []byte) int32 {
	return importStreamRead(stream, from, limit, at(into), int32(len(into)))
}

//go:wasmimport gyre_1 config_get
func importConfigGet(name string, into unsafe.Pointer, capacity int32) int32

func (c *Context) configGet(name string, into []byte) int32 {
	return importConfigGet(name, at(into), int32(len(into)))
}

//go:wasmimport gyre_1 secret_get
func importSecretGet(name string, into unsafe.Pointer, capacity int32) int32

func (c *Context) secretGet(name string, into []byte) int32 {
	return importSecretGet(name, at(into), int32(len(into)))
}

//go:wasmimport gyre_1 http
func importHTTP(request unsafe.Pointer, length int32, into unsafe.Pointer, capacity int32) int32

func (c *Context) httpCall(request, into []byte) int32 {
	return importHTTP(at(request), int32(len(request)), at(into), int32(len(into)))
}

//go:wasmimport gyre_1 fail
func importFail(code int32, text string)

func (c *Context) fail(code int32, text string) { importFail(code, text) }

//go:wasmimport gyre_1 log
func importLog(level int32, text string)

func (c *Context) logLine(level Level, text string) { importLog(int32(level), text) }

//go:wasmimport gyre_1 metric
func importMetric(kind int32, name string, value float64) int32

func (c *Context) metric(kind abi.Kind, name string, value float64) int32 {
	return importMetric(int32(kind), name, value)
}

//go:wasmimport gyre_1 now_us
func importNow() int64

func (c *Context) nowMicros() int64 { return importNow() }

//go:wasmimport gyre_1 random
func importRandom(into unsafe.Pointer, length int32)

func (c *Context) random(p []byte) { importRandom(at(p), int32(len(p))) }
