package expression

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"cel.dev/cel-go/common/types"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/gyre-events/gyre/core"
)

const (
	// maxCost bounds what the expressions of a definition may cost for one event, together.
	// An operation costs 1 and what it reads or makes.
	maxCost = 1_000_000
	// bytesPerCost is how much memory a cost of 1 pays for. Nothing is made before it is
	// paid, so an event takes at most 32 MB.
	bytesPerCost = 32
	// faultCost pays for an error: expressions can make and drop many.
	faultCost = 16
	// pollEvery is how much is spent between two looks at the context, well below a
	// millisecond's worth.
	pollEvery = 10_000
)

// errCost ends the evaluation of an event that costs too much.
var errCost = fmt.Errorf("it costs more than %d for this event", maxCost)

// machine evaluates the expressions of one Program. It belongs to one goroutine.
type machine struct {
	ctx  context.Context
	left int // what the event may still cost
	poll int // the context is looked at once left is below
	// ended is why the evaluation of the event ends, whatever the expression does about
	// errors: its cost, a malformed event, or the context.
	ended error

	event          *core.Event
	data, metadata value // nil until they are read
	locals         []result
	reader         *jsontext.Decoder
	stack          []value // of the reader
}

// result is what a node evaluates to. An accumulator of a comprehension may hold an error.
type result struct {
	value value
	err   error
}

// begin prepares for an event.
func (m *machine) begin(ctx context.Context, e *core.Event) {
	m.ctx, m.event = ctx, e
	m.left, m.poll, m.ended = maxCost, maxCost, nil
}

// end drops what the machine holds of an event.
func (m *machine) end() {
	m.ctx, m.event, m.data, m.metadata = nil, nil, nil, nil
	clear(m.locals)
	if m.reader != nil {
		m.reader.Reset(new(bytes.Buffer)) // it refers to the text that it was given
	}
	if cap(m.stack) > 1<<12 {
		m.stack = nil
	}
}

// spend takes a cost from the budget of the event. It fails if not enough is left or the
// context has ended, now and at each later call.
func (m *machine) spend(cost int) error {
	if m.left -= cost; m.left >= m.poll {
		return nil
	}
	return m.look()
}

func (m *machine) look() error {
	switch {
	case m.ended != nil:
	case m.left < 0:
		m.ended = errCost
	case m.ctx.Err() != nil:
		m.ended = core.AsError(m.ctx.Err())
	default:
		m.poll = max(0, m.left-pollEvery)
		return nil
	}
	m.left, m.poll = -1, 0 // each later call comes here
	return m.ended
}

// spendText pays for reading or making so many bytes, beside the cost of 1.
func (m *machine) spendText(bytes int) error { return m.spend(1 + bytes/bytesPerCost) }

// failf makes an error that the expression may deal with.
func (m *machine) failf(format string, args ...any) error {
	if err := m.spend(faultCost); err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}

// abort ends the evaluation of the event.
func (m *machine) abort(err error) error {
	if m.ended == nil {
		m.ended = err
		m.left, m.poll = -1, 0
	}
	return m.ended
}

// maxFaultBytes bounds the text about a failed event.
const maxFaultBytes = 1 << 10

// faultOf is the text of an error of an event.
func faultOf(err error) string { return core.ClipTo(err.Error(), maxFaultBytes) }

// variable is one that expressions see of an event.
type variable int

const (
	varStream variable = iota
	varType
	varVersion
	varPosition
	varID
	varTime
	varRecorded
	varData
	varMetadata
)

var variables = map[string]variable{
	"stream": varStream, "type": varType, "version": varVersion, "position": varPosition, "id": varID,
	"time": varTime, "recorded": varRecorded, "data": varData, "metadata": varMetadata,
}

func (v variable) eval(m *machine) (value, error) {
	if err := m.spend(1); err != nil {
		return nil, err
	}
	e := m.event
	switch v {
	case varStream:
		return types.String(e.Home().Stream), nil // a link is filtered as its event
	case varType:
		return types.String(e.Type), nil
	case varVersion:
		return types.Int(e.Version), nil
	case varPosition:
		return types.Int(e.Position), nil
	case varID:
		return types.String(e.ID.String()), nil
	case varTime:
		return types.Timestamp{Time: e.Time.In(time.UTC)}, nil
	case varRecorded:
		return types.Timestamp{Time: e.Recorded.In(time.UTC)}, nil
	case varData:
		return m.read(&m.data, e.Data, e.Format == core.JSON, types.NullValue)
	case varMetadata:
		return m.read(&m.metadata, e.Metadata, len(e.Metadata) > 0, &object{})
	}
	return nil, m.abort(errors.New("an unknown variable"))
}

// read parses a part of the event when it is first asked for. A malformed one is an error
// that the expression cannot deal with.
func (m *machine) read(into *value, text []byte, isJSON bool, otherwise value) (value, error) {
	if *into != nil {
		return *into, nil
	}
	if *into = otherwise; isJSON {
		v, err := m.parse(text)
		if err != nil {
			return nil, m.abort(err)
		}
		*into = v
	}
	return *into, nil
}
