package delivery

import "time"

// Item is one event for the machine to deliver.
type Item struct {
	Position uint64
	// RecordedMicros is the event's recorded time, in Unix microseconds.
	RecordedMicros int64
	// Raw is the event as it is to be sent; the machine looks at its length only.
	// It may be a part of a shared block, which it keeps in memory.
	Raw []byte
	// Key is the event's partition key, if the subscription has keys. "" is a key
	// like any other.
	Key string
	// Fault says why the event cannot be delivered, if so: its filter, key or map
	// failed. Such an event is parked unsent.
	Fault string
}

// instant is a time, in nanoseconds since the machine began.
type instant int64

const never instant = 1<<63 - 1

// state is what becomes of an entry; doc.go draws it. An entry that is
// finished is no more.
type state uint8

const (
	waiting  state = iota // to be sent
	inFlight              // sent, not answered
	retrying              // failed, to be sent again later
	parking               // to be parked by this store or the next
	removing              // a replayed one, to be taken from the parked by this store or the next
	states
)

// entry is an event that is not finished.
type entry struct {
	Item
	state  state
	replay bool // of a parked event: it is not in the window
	stored bool // of a parking or removing one: the store under way has it
	// expired is of a parking one that the store under way has: it is gone from the log.
	expired bool

	changed  bool // it has failed since it was stored as a FailedEvent
	recorded bool // it may be stored as a FailedEvent

	index uint64 // in the window's entries; of no meaning for a replay

	attempt int         // how often it was sent, ever
	holder  *subscriber // Invariant: not nil if and only if in flight
	serial  uint64      // of the send; 0 unless in flight
	timing

	queue      *keyQueue // nil if it keeps to no order
	next, prev *entry    // in the queue; next is also the pool's

	ready *readyHeap // that it is in, or nil
	place int        // in ready

	past *past // nil until something went wrong
}

// timing is what an entry has of time.
type timing struct {
	sentAt   instant
	since    instant // when its time to ack began: at sentAt, or later when it became the first of its key
	overdue  bool    // it was not the first of its key when the time to ack from sentAt was over
	timer    uint64  // the serial of its one timer that counts; 0 if there is none
	deadline instant // of that timer
}

// before makes entries go in order of position.
func (e *entry) before(o *entry) bool { return e.Position < o.Position }

// past is what went wrong with an event.
type past struct {
	failed   int       // attempts that count against Retry.Max
	failures []Failure // the last of them

	// Why and when it was parked.
	cause  Cause
	reason string
	at     instant
}

// Failure is one failed attempt.
type Failure struct {
	At       time.Time `json:"at"`
	Attempt  int       `json:"attempt"`
	Consumer string    `json:"consumer"`
	Cause    Cause     `json:"cause"`
	Reason   string    `json:"reason,omitempty"`
}

// Cause says why an attempt failed, or why an event was parked.
type Cause string

// The causes.
const (
	CauseNack    Cause = "nack"         // the subscriber said so
	CauseTimeout Cause = "timeout"      // the subscriber did not answer in time
	CauseLost    Cause = "disconnected" // the subscriber went away without a word
	CauseRetries Cause = "max_attempts" // as many attempts failed as may
	CauseHeld    Cause = "held"         // an earlier event of its key is parked
	CauseFault   Cause = "fault"        // it could not be filtered, keyed or mapped
)

// maxFailures is how many failed attempts of an event are remembered, the last
// ones.
const maxFailures = 10

func (e *entry) history() *past {
	if e.past == nil {
		e.past = &past{}
	}
	return e.past
}

func (p *past) add(f Failure) {
	if len(p.failures) == maxFailures {
		copy(p.failures, p.failures[1:])
		p.failures = p.failures[:maxFailures-1]
	}
	p.failures = append(p.failures, f)
}

// pool keeps entries to be used again. It grows by what it has: most subscriptions
// are never far behind, and there are many of them.
type pool struct {
	free *entry
	made int
}

func (p *pool) get() *entry {
	if p.free == nil {
		const least, most = 2, 64
		chunk := min(max(least, p.made), most)
		p.made += chunk
		for entries := make([]entry, chunk); len(entries) > 0; entries = entries[1:] {
			entries[0].next, p.free = p.free, &entries[0]
		}
	}
	e := p.free
	p.free, e.next = e.next, nil
	return e
}

// put takes an entry that nothing counts on any more. What still points to it
// finds serial and timer changed.
func (p *pool) put(e *entry) {
	*e = entry{next: p.free}
	p.free = e
}

// timer is when something is to happen to an entry: the end of a backoff, or of an
// extended time to ack.
type timer struct {
	at     instant
	serial uint64
	e      *entry
}

func (t timer) before(o timer) bool {
	return t.at < o.at || t.at == o.at && t.serial < o.serial
}

// dead says that the entry has another timer by now, or none.
func (t timer) dead() bool { return t.e.timer != t.serial }
