package plugintest

import (
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/sdk/plugin"
)

// JudgeTest is a function that judges events: a filter, a map, a partitioner or a validator.
//
//	test := plugintest.NewJudge(plugin.FilterFunc(large))
//	verdicts := test.Judge(plugintest.Event{Stream: "order-1", Type: "OrderPlaced", Data: `{"total":10}`})
//	if verdicts[0].Keep { … }
type JudgeTest struct {
	judge plugin.Judge
	test  Test
}

// Verdict is what was decided about an event.
type Verdict struct {
	// Keep says that a filter keeps the event, a validator accepts it, or a map or a partitioner
	// has made its value.
	Keep   bool
	Value  string // the data of a map, or the key of a partitioner
	Reason string // why the event is parked or refused; empty if it is dropped
}

// NewJudge returns a JudgeTest of j.
func NewJudge(j plugin.Judge) *JudgeTest { return &JudgeTest{j, *New(nil)} }

// SetConfig sets the configuration: a JSON object.
func (t *JudgeTest) SetConfig(config string) { t.test.SetConfig(config) }

// Judge judges events, each in a batch of its own, and returns a verdict for each.
func (t *JudgeTest) Judge(events ...Event) []Verdict {
	list := t.test.number(events)
	verdicts := make([]Verdict, len(list))
	for i := range list {
		verdicts[i] = t.one(list[i : i+1])
	}
	return verdicts
}

func (t *JudgeTest) one(event []abi.Event) Verdict {
	host := &t.test.host
	host.Reset(event)
	var w abi.BatchWriter
	w.Reset(event[0].TimeMicros, 1, 0)
	if err := w.Add(&event[0]); err != nil {
		return Verdict{Reason: err.Error()}
	}
	verdict := plugin.RunJudge(t.judge, host, w.Bytes())
	r := host.Results[0]
	switch {
	case r.Action == abi.Ack && verdict == abi.Done:
		return Verdict{Keep: true, Value: r.Message}
	case r.Action == abi.Skip:
		return Verdict{}
	}
	return Verdict{Reason: r.Message}
}
