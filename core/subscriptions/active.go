package subscriptions

import "time"

// Active is a subscription that an Owner hosts, for people.
type Active struct {
	Name       string
	Checkpoint uint64    // as it is stored
	Since      time.Time // the Owner hosts it since then
	Used       time.Time // when it last had a subscriber; now, if it has one
}

// Active lists the subscriptions that this Owner hosts, without transient and unnamed ones, in
// no order.
func (o *Owner) Active() []Active {
	list := []Active{}
	now := time.Now()
	for _, h := range o.hosts() {
		if key := h.incarnation.key; key.transient || key.unnamed != "" {
			continue
		}
		h.mu.Lock()
		a := Active{Name: h.incarnation.key.name, Checkpoint: h.saver.saved.Checkpoint, Since: h.began, Used: h.due.idle}
		ended := h.ended != nil
		h.mu.Unlock()
		if a.Used.IsZero() {
			a.Used = now
		}
		if !ended {
			list = append(list, a)
		}
	}
	return list
}
