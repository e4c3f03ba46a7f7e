package cluster

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"time"
)

const (
	// joinEvery is the pause between rounds of joins while gossip does not reach a session
	// that beats, and joinIdle while it reaches all.
	joinEvery = 2 * time.Second
	joinIdle  = 30 * time.Second
	// maxJoins bounds how many addresses of the storage are tried at a time, and how many
	// seeds.
	maxJoins = 10
)

// joinAttempt is what is known of joins at one address.
type joinAttempt struct {
	running bool
	began   time.Time // when the last one did
	err     error     // of the last
	reaches string    // the IP address and port that the last one dialed
}

// joins introduces this node to others until the Membership stops: memberlist forgets
// those that were dead for longer than 30 s, and tries no more.
func (m *Membership) joins() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var seeds []string
	for {
		select {
		case <-timer.C:
		case <-m.joinNow:
		case seeds = <-m.config.Seeds:
		case <-m.ctx.Done():
			return
		}
		addresses, complete := m.toJoin(seeds)
		for _, address := range addresses {
			m.wg.Go(func() { m.join(address) })
		}
		pause := joinEvery
		if complete {
			pause = joinIdle
		}
		timer.Reset(pause)
	}
}

// toJoin returns the addresses to try, marked as running, and whether gossip reaches
// every session that beats.
func (m *Membership) toJoin(seeds []string) (addresses []string, complete bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	complete = m.standing != nil
	var wanted []string
	if m.standing != nil {
		for _, s := range m.standing.Sessions {
			if !m.watch.Dead(s.Session) && !m.isAlive(s.Session) {
				wanted, complete = append(wanted, s.Gossip), false
			}
		}
	}
	m.forgetJoins(append(wanted, seeds...))
	return append(m.choose(wanted), m.choose(seeds)...), complete
}

// choose returns those of some addresses that are tried now, marked as running: maxJoins at
// most, with those that were not tried for the longest time first. mu is held.
func (m *Membership) choose(from []string) (addresses []string) {
	alive := m.gossip.addresses()
	var idle []string
	running := 0
	for _, address := range from {
		attempt := m.asked.joining[address]
		if attempt == nil {
			attempt = &joinAttempt{reaches: address}
			m.asked.joining[address] = attempt
		}
		switch {
		case attempt.running:
			running++
		case address == m.self.Gossip, address == m.gossip.address, slices.Contains(alive, attempt.reaches):
		case slices.Contains(idle, address): // an address is tried by one at a time
		default:
			idle = append(idle, address)
		}
	}
	slices.SortStableFunc(idle, func(a, b string) int { return m.asked.joining[a].began.Compare(m.asked.joining[b].began) })
	addresses = idle[:min(len(idle), max(0, maxJoins-running))]
	for _, address := range addresses {
		attempt := m.asked.joining[address]
		attempt.running, attempt.began = true, time.Now()
	}
	return addresses
}

// join tries one address.
func (m *Membership) join(address string) {
	host, port, err := splitAddress(address)
	if err == nil {
		host, err = resolve(m.ctx, host)
	}
	reaches := net.JoinHostPort(host, strconv.Itoa(port))
	if err == nil {
		_, err = m.gossip.list.Join([]string{reaches})
		if one := errors.Unwrap(err); one != nil {
			err = one // of a list of one, whose text has several lines
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	attempt := m.asked.joining[address]
	if err != nil && attempt.err == nil && m.ctx.Err() == nil {
		m.log.Info("gossip does not reach an address yet", "address", address, "error", err)
	}
	attempt.running, attempt.reaches, attempt.err = false, reaches, err
}

// forgetJoins drops what is known of addresses that are not wanted any more. mu is held.
func (m *Membership) forgetJoins(wanted []string) {
	for address, attempt := range m.asked.joining {
		if !attempt.running && !slices.Contains(wanted, address) {
			delete(m.asked.joining, address)
		}
	}
}

// joinProblem says what went wrong with the last join at an address. mu is held.
func (m *Membership) joinProblem(address string) string {
	if attempt := m.asked.joining[address]; attempt != nil && attempt.err != nil {
		return ": " + attempt.err.Error()
	}
	return ""
}
