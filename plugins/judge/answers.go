package judge

import (
	"fmt"
	"time"

	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// answers takes what a plugin answers about the events of a batch, and denies it everything else.
// It implements plugins.Effects and plugins.Reads.
type answers struct {
	effects.NoEffects
	kind   plugins.Kind
	config *effects.Config
	list   []answer
	values []byte // of the answers, one behind the other
	full   int    // the first event that there was no room for, or len(list)
}

// answer is what was answered about an event.
type answer struct {
	given    bool
	action   abi.Action
	from, to int    // its value in values
	bad      string // why it is none
}

func (a *answers) reset(count int) {
	a.list, a.values, a.full = append(a.list[:0], make([]answer, count)...), a.values[:0], count
}

// Result is plugins.Effects'.
func (a *answers) Result(event int, action abi.Action, _ time.Duration, message []byte) abi.Errno {
	if event < 0 || event >= len(a.list) {
		return abi.Invalid
	}
	to := &a.list[event]
	*to = answer{given: true, action: action}
	if action != abi.Ack && action != abi.Park && (action != abi.Skip || a.kind != plugins.KindFilter) {
		to.bad = fmt.Sprintf("it answered %d, which is no answer of %s", action, a.kind.A())
		return abi.Invalid
	}
	if most := a.most(action); len(message) > most {
		to.bad = fmt.Sprintf("it answered with %d bytes, at most %d are allowed", len(message), most)
		return abi.TooLarge
	}
	if len(a.values)+len(message) > abi.MaxEffectBytes {
		a.full = min(a.full, event)
		return abi.Quota
	}
	to.from = len(a.values)
	a.values = append(a.values, message...)
	to.to = len(a.values)
	return abi.OK
}

// most is the most bytes of an answer.
func (a *answers) most(action abi.Action) int {
	switch {
	case action == abi.Ack && a.kind == plugins.KindMap:
		return abi.MaxMappedBytes
	case action == abi.Ack && a.kind == plugins.KindPartition:
		return abi.MaxKeyBytes
	}
	return abi.MaxMessageBytes
}

// prefix counts the events, from the first, that there is an answer about.
func (a *answers) prefix() (n int) {
	for n < len(a.list) && a.list[n].given {
		n++
	}
	return n
}

// verdict is the verdict on an event of a batch that went well.
func (a *answers) verdict(event int) Verdict {
	from := &a.list[event]
	value := a.values[from.from:from.to:from.to]
	switch {
	case from.bad != "":
		return Verdict{Fault: from.bad}
	case !from.given && (a.kind == plugins.KindMap || a.kind == plugins.KindPartition):
		return Verdict{Fault: "it gave no answer about this event"}
	case from.action == abi.Park && a.kind != plugins.KindValidate:
		return Verdict{Fault: reasonIn(value)}
	}
	return Verdict{Action: from.action, Value: value}
}

// reason is why the plugin did not judge the one event of a batch that failed, if it has said so.
func (a *answers) reason() string {
	if len(a.list) != 1 || a.list[0].action != abi.Park {
		return ""
	}
	return reasonIn(a.values[a.list[0].from:a.list[0].to])
}

// reasonIn is the text of a plugin as a line.
func reasonIn(text []byte) string {
	if len(text) == 0 {
		return "it gave no reason"
	}
	return string(plugins.Line(string(text)))
}

// Config is plugins.Reads'.
func (a *answers) Config(key []byte) ([]byte, abi.Errno) { return a.config.Get(key) }
