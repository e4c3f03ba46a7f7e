package host

import "github.com/gyre-events/gyre/plugins/effects"

// Rules are rules that a Host goes without.
type Rules = rules

// The rules of doc.go.
const (
	RuleCompare    = ruleCompare
	RuleCheck      = ruleCheck
	RuleTell       = ruleTell
	RuleReadFirst  = ruleReadFirst
	RuleDiscard    = ruleDiscard
	RuleKeepPlaces = ruleKeepPlaces
	RuleJudgeLate  = ruleJudgeLate
	RuleTrace      = ruleTrace
	RuleReplay     = ruleReplay
	RuleOnlyLanes  = ruleOnlyLanes
	RuleGeneration = ruleGeneration
	RuleDuplicate  = ruleDuplicate
	RuleSuspect    = ruleSuspect
	RuleFence      = ruleFence
	RuleAhead      = ruleAhead
	RuleAllBack    = ruleAllBack
	RuleBehindLive = ruleBehindLive
	RuleCarry      = ruleCarry
	RuleExpire     = ruleExpire
)

// LaneOf is the lane of a partition key.
var LaneOf = effects.LaneOf

// Without starts a Host that goes without some rules. The config is complete but for Logger
// and Output.
func Without(config Config, r Rules) *Host { return start(config.withDefaults(), r) }

// Observe observes a binding. keys are those that a Commit has changed; nil if that is not known.
func Observe(h *Host, name string, do func(generation, revision uint64, switched bool, keys []string)) (stop func()) {
	return h.observe(name, func(c *change) {
		var keys []string
		if c.staged != nil {
			keys = []string{}
			for key := range c.staged.Changes() {
				keys = append(keys, key)
			}
		}
		do(c.generation, c.revision, c.switched, keys)
	})
}

// ShadowIsReady reports whether the shadow of a binding is given batches.
func (h *Host) ShadowIsReady(name string) bool {
	s := h.shadowOf(name)
	return s != nil && s.ready.Load()
}
