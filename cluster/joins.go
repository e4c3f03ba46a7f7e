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
	// maxJoins bounds how many addresses are tried at a time.
	maxJoins = 10
)

// joinAttempt is what is known of joins at one address.
type joinAttempt struct {
	running bool
	err     error // of the last
}

// joins introduces this node to others until the Membership stops: memberlist forgets
// those that were dead for longer than 30 s, and tries no more.
func (m *Membership) joins() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-m.joinNow:
		case <-m.ctx.Done():
			return
		}
		addresses, complete := m.toJoin()
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
func (m *Membership) toJoin() (addresses []string, complete bool) {
	var seeds []string
	if m.config.Seeds != nil {
		seeds = m.config.Seeds()
	}
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
	for _, address := range append(wanted, seeds...) {
		attempt := m.asked.joining[address]
		if attempt == nil {
			attempt = &joinAttempt{}
			m.asked.joining[address] = attempt
		}
		if attempt.running || len(addresses) >= maxJoins || address == m.self.Gossip || address == m.gossip.address {
			continue
		}
		attempt.running = true
		addresses = append(addresses, address)
	}
	m.forgetJoins(append(wanted, seeds...))
	return addresses, complete
}

// join tries one address.
func (m *Membership) join(address string) {
	host, port, err := splitAddress(address)
	if err == nil {
		host, err = resolve(m.ctx, host)
	}
	if err == nil {
		_, err = m.gossip.list.Join([]string{net.JoinHostPort(host, strconv.Itoa(port))})
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
	attempt.running, attempt.err = false, err
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
