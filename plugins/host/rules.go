package host

// rules are rules of doc.go that a Host goes without, so that a test can show what each is
// for. There are none outside of tests.
type rules uint32

const (
	ruleCompare    rules = 1 << iota // L1: the lane's record is compared
	ruleCheck                        // L1: the binding's record is compared
	ruleTell                         // L1: the machine is shown after the Commit
	ruleReadFirst                    // L2: the lane's record is read before state
	ruleDiscard                      // L3: the instance and the state are thrown away
	ruleKeepPlaces                   // L3: all events of a batch go back to their places
	ruleJudgeLate                    // L4: the checkpoint is compared when an event is about to run
	ruleTrace                        // L5: what is passed without effect leaves a trace
	ruleReplay                       // L6: a replay is run only if there is a trace, which goes with it
	ruleOnlyLanes                    // L7: only lanes park
	ruleGeneration                   // L9: a runner ends with its incarnation
	ruleDuplicate                    // L11: a Duplicate without progress is a failure
	ruleSuspect                      // L12: attempts are written first after an unclean stop
	ruleFence                        // L13: Commits that follow each other check the lane's fence
	ruleAhead                        // L13: what is read is as behind the Commits under way
	ruleAllBack                      // L13: the Commits behind one that was not made are thrown away
	ruleBehindLive                   // L14: a generation beside handles what the live one has passed
	ruleCarry                        // L14: it parks what the live one has parked
	ruleExpire                       // L15: what is removed before a lane has handled it is dropped
)

// holds reports whether the Host keeps a rule.
func (h *Host) holds(r rules) bool { return h.without&r == 0 }
