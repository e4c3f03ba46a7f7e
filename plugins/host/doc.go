// Package host runs plugins: each binding whose subscription this node owns, so that a batch
// of events has its effects exactly once. A [Host] has the bindings, and everything that can
// be done to one. What runs is behind [plugins.Program]: Wasm, or Go in the same process.
//
// # From a subscription to a Commit
//
//	Owner ──► Bound subscriber ──► runner ──► lane ──► Handler
//	  ▲                            deals by   queue      │ effects
//	  └──── ack, nack(park) ◄───── key          ◄── Commit: lane, state, appends
//
// The supervisor looks for bindings and starts a driver for each that is to run here, and for each
// generation beside one, which a rebuild makes. A driver makes a runner for the binding as it is at
// one revision, and another when it has changed. A runner deals the events of its subscription to
// the lanes, each a goroutine with a Handler of its own. A lane hands its Handler a batch, stages
// the effects, and makes one Commit of them. Only when that is made are the events acknowledged;
// the lane handles the next batches meanwhile.
//
// # Rules
//
// The record of a lane is the truth; the progress of the subscription follows it, and may be
// far behind after a kill. These rules were found by a search of all schedules; TestModel
// goes through random ones, and TestWithoutRules shows what each is for.
//
//	L1  Every Commit of a lane compares and replaces its record, checks the record of the
//	    binding, and is made as the owner of the subscription, under the epoch. The machine
//	    is told after it, and only then.                                        commit.go
//	L2  The lane's record is read before any state. Who reads it again forgets all else.
//	L3  After any answer but success, the Handler and the lane's copy are thrown away, and
//	    the events go back to their places. No event runs while a lower one is queued, and
//	    a redelivery is the same event. Lost ownership ends the runner.   lane.go, queue.go
//	L4  Whether an event was passed is judged when it is about to run.           lane.go
//	L5  The Commit that passes an event without effect leaves a trace of it; then it is
//	    parked. An event that was passed is parked if it has a trace, else acknowledged,
//	    and never run.                                                           park.go
//	L6  A replay runs if there is a trace. Its Commit takes the trace away, and its failure
//	    is a Commit, too.                                                      replay.go
//	L7  Only lanes retry and park: the subscription is bound (core/subscriptions/bound.go).
//	L8  The progress of the subscription is stored by its owner, compared and under the
//	    epoch. A drop of a parked event takes the trace away.     core/subscriptions/saver.go
//	L9  A generation is an incarnation of the subscription. A rebuild begins one beside the
//	    live one, in one Commit. A switch, and a rollback to the one before, are one Commit
//	    that has two generations and their incarnations change places. It compares both,
//	    and all their lanes, when nothing of them is under way.    rebuild.go, switch.go
//	L10 A change is one Commit of the binding. The next runner begins with it.  driver.go
//	L11 The host makes the ids of appended events. A Commit that is answered as a duplicate
//	    while the lane's record has not moved is a failure.   effects/emit.go, commit.go
//	L12 After an unclean stop, lanes are suspect: they write the attempt at an event before
//	    they handle it, alone and in turns, so one that ends the process is found, and no
//	    other is taken for it.                                                 suspect.go
//	L13 A lane whose Commits are under way handles plain batches only, on the state that
//	    those leave, and reads no stream before they are made. If one is not made, those
//	    behind it are thrown away, too. The first Commit since the lane was read replaces
//	    its fence, and none is under way behind that one; the next check the fence, so a
//	    late one is never made behind another Commit than it was for.           flight.go
//	L14 A lane of a generation beside handles no event that the same lane of the live one has
//	    not passed, and emits nothing unless it is to emit again: it appends nothing, and
//	    calls no server. What the live one has parked it parks, too, if it may emit; the
//	    switch has that replayed, and holds back what the live one has emitted by then.
//	                                                               beside.go, heldback.go
//	L15 A lane handles no event that the Store knew to be removed before it began. The machine
//	    counts it as expired.                                                  expire.go
//
// # Shadows
//
// A runner can have a shadow: another version that handles what each lane has handled, on the
// state that the lane stands on, before the lane commits it. Its own state is that of the lane
// with an overlay of what differs. Its effects are compared, and dropped. The overlay goes back
// with a Commit that was not made. Nothing of a shadow is written. A lane waits for it as long as
// a batch may take, and suspect lanes have none.
//
// # Failures
//
// What an event does beside being acknowledged is decided when it is handled alone: a batch
// in which one fails is cut before it; one that fails as a whole is halved until the event is
// alone, and the others are handled in batches. Then the event is tried again, after a backoff,
// as often as the error policy says, and is parked or stops the binding.
// A version that was not as expected is tried again at once, a few times. Storage that is away
// is waited for. A lane that parks many events in a row, or whose Handler does not start,
// slows down. None of this concerns another binding, or the start of the node.
//
// # What is promised
//
// The events that a lane has appended to each stream, and its state, are those of handling
// its events once each, in order, but for replays, which come when they are asked for. The
// interleaving of lanes is not promised. A lane that appends to a stream that others write
// to, too, and expects a version of it, may be parked for that.
//
// Every event is appended for once, by one generation, however often they change places. What
// a generation holds back, lane by lane, is what others had appended when it became live. Of
// events that were parked then, nothing was appended, and nothing is held back.
//
// # Watches
//
// A lane tells of each Commit, in order, with the revision of its record, which each Commit raises by
// one (feed.go). While somebody watches a binding, its owner keeps the newest of these changes
// (watches.go). A watch lists the state (listing.go), and applies a change if its revision is the one
// behind the last that it knows; it passes over older ones, and lists again if there is a gap. So it
// shows each change once, in order, however long the list took (watch.go).
//
// # Concurrency
//
// A Host is safe for concurrent use. Its goroutines are the supervisor, the sweeper, a driver
// for each binding and for each generation beside one, which has another to switch to it, and
// for each runner its lanes. Close waits for all of them. No lock is
// held over a call of storage or of a Handler. What is delivered and not committed is bounded
// for each binding, in events and bytes; and so are the effects that a lane has under way, and
// the state that it keeps in memory.
package host
