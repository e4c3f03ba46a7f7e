package ring

import "time"

// Holder decides which slots one session may host: those that it owns and that nobody else
// can still believe to be his. It is fed every view in the order of their epochs. A slot
// that the session keeps is held without a pause; what it gains is held once all sessions
// that an earlier view names have released it, or are gone:
//
//   - A session has released it if it reports so (Session.Released), for the newest view or
//     for one since the last that names it.
//   - A session that is no longer listed is gone after DeadAfter: its last beat came before
//     it was seen to be missing.
//   - A dead session (Watch) is gone if it was still silent BeatTimeout after the newest
//     view was known. So no beat that was answered before that view is on its way.
//
// A session that has just begun does not know who was named before. So it waits for all
// sessions that were listed when it began, and DeadAfter for those that were not.
type Holder struct {
	self  uint64
	epoch uint64 // of the newest view
	known time.Duration
	mine  *SlotSet // what self owns in the newest view
	held  *SlotSet
	named map[uint64]*rival

	strangers      bool          // views from before the first standing may name more sessions
	began          time.Duration // when the first standing came
	beganAt        uint64        // its epoch
	settled        uint64        // the newest epoch at which all of mine was held
	settledByOther uint64
}

// rival is a session that an earlier view names.
type rival struct {
	last    uint64        // the newest epoch whose view names it
	missing bool          // it is no longer listed
	since   time.Duration // when that was first seen
}

// NewHolder begins a Holder with the first standing of a session. views says whether there
// are views already.
func NewHolder(self uint64, received time.Duration, first *Standing, views bool) *Holder {
	h := &Holder{
		self: self, mine: &SlotSet{}, held: &SlotSet{}, named: map[uint64]*rival{},
		strangers: views, began: received, beganAt: first.Epoch,
	}
	if views {
		for _, s := range first.Sessions {
			h.name(s.Session, first.Epoch)
		}
	}
	return h
}

func (h *Holder) name(session, epoch uint64) {
	if session == h.self {
		return
	}
	r := h.named[session]
	if r == nil {
		r = &rival{}
		h.named[session] = r
	}
	r.last = max(r.last, epoch)
}

// Advance takes the next view: what self does not own in it is no longer held.
func (h *Holder) Advance(now time.Duration, v *View, owners *Owners) {
	h.epoch, h.known = v.Epoch, now
	h.mine = owners.Set(h.self)
	h.held = h.held.And(h.mine)
	for _, m := range v.Members {
		h.name(m.Session, v.Epoch)
	}
}

// Settle looks whether all of mine can be held. released is the epoch up to which self has
// released what it lost; s is a standing of the newest view's epoch or a later one, which w
// has observed; settled is the newest epoch of which another node says that it was settled.
// It reports whether more is held than before.
func (h *Holder) Settle(released uint64, s *Standing, w *Watch, settled uint64) bool {
	h.settledByOther = max(h.settledByOther, settled)
	if h.epoch == 0 || s.Epoch < h.epoch {
		return false
	}
	all := !h.waitsForStrangers(w) && released >= h.epoch
	for session, r := range h.named {
		switch h.standsBack(session, r, s, w) {
		case blocks:
			all = false
		case isOut:
			delete(h.named, session)
		}
	}
	if !all || h.settled == h.epoch {
		return false
	}
	h.settled, h.held = h.epoch, h.mine
	return true
}

// Settled returns the newest epoch at which all was held that this session owned. Nobody
// holds a slot then by an earlier view than that, so another session need not ask.
func (h *Holder) Settled() uint64 { return h.settled }

// Held returns the slots that may be hosted. The set does not change.
func (h *Holder) Held() *SlotSet { return h.held }

// waitsForStrangers reports whether sessions may serve that self has never seen.
func (h *Holder) waitsForStrangers(w *Watch) bool {
	if h.strangers && (w.received-h.began >= DeadAfter || h.settledByOther >= h.beganAt) {
		h.strangers = false
	}
	return h.strangers
}

// The answers of standsBack.
type stance uint8

const (
	blocks stance = iota
	passes        // it holds nothing that it does not own in the newest view
	isOut         // it holds nothing, and will not unless a later view names it
)

func (h *Holder) standsBack(session uint64, r *rival, s *Standing, w *Watch) stance {
	row, listed := s.Session(session)
	switch {
	case !listed && !r.missing:
		r.missing, r.since = true, w.received
		return blocks
	case !listed && w.received-r.since >= DeadAfter:
		return isOut
	case !listed:
		return blocks
	case row.Released > r.last:
		return isOut
	case row.Released >= h.epoch:
		return passes
	}
	if w.Dead(session) && w.Contact()-h.known >= BeatTimeout {
		return passes
	}
	return blocks
}

// SlotSet is a set of slots.
type SlotSet [Slots / 64]uint64

// Has reports whether a slot is in the set.
func (s *SlotSet) Has(slot int) bool { return s[slot/64]>>(slot%64)&1 == 1 }

// And returns what is in both sets.
func (s *SlotSet) And(other *SlotSet) *SlotSet {
	var both SlotSet
	for i := range s {
		both[i] = s[i] & other[i]
	}
	return &both
}

// Set returns the slots that a session owns.
func (o *Owners) Set(session uint64) *SlotSet {
	var set SlotSet
	for slot, i := range o.by {
		if len(o.view.Members) > 0 && o.view.Members[i].Session == session {
			set[slot/64] |= 1 << (slot % 64)
		}
	}
	return &set
}
