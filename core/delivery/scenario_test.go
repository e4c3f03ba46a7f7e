package delivery

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gyre-events/gyre/core"
)

var update = flag.Bool("update", false, "write what the scenarios answer into their files")

// TestScenarios plays the files of testdata, which README.txt there explains: what
// stands indented under a command is all that the machine does after it.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.scenario")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".scenario"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(text))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := strings.Split(string(text), "\n"); got != string(text) {
				lines := strings.Split(got, "\n")
				for i := range lines {
					if i >= len(want) || lines[i] != want[i] {
						t.Fatalf("%s:%d: the machine answers\n%s\nin all\n%s", file, i+1, lines[i], got)
					}
				}
				t.Fatalf("%s: the machine answers less:\n%s", file, got)
			}
		})
	}
}

// play runs the commands of a scenario and returns it with what was answered.
func play(text string) (string, error) {
	p := &player{leases: map[string]Lease{}, parked: map[uint64]Parked{}, failures: map[uint64]FailedEvent{}, config: Config{Options: DefaultOptions()}, now: epoch}
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "  ") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.command(strings.Fields(line)); err != nil {
			return "", fmt.Errorf("line %d, %s: %w", i+1, line, err)
		}
		for _, answer := range p.answers {
			out.WriteString("  " + answer + "\n")
		}
		p.answers = nil
	}
	return out.String(), nil
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// player is the host of a scenario.
type player struct {
	m        *Machine
	config   Config
	now      time.Time
	leases   map[string]Lease
	parked   map[uint64]Parked      // in storage
	failures map[uint64]FailedEvent // likewise
	byHand   bool                   // the scenario answers stores
	size     int                    // of an event
	answers  []string

	store *Store // under way
}

func (p *player) say(format string, args ...any) {
	p.answers = append(p.answers, fmt.Sprintf(format, args...))
}

// words are a command's arguments: plain ones, and name=value.
type words struct {
	plain []string
	named map[string]string
}

func parseWords(fields []string) words {
	w := words{named: map[string]string{}}
	for _, f := range fields {
		if name, value, ok := strings.Cut(f, "="); ok {
			w.named[name] = value
		} else {
			w.plain = append(w.plain, f)
		}
	}
	return w
}

func (w words) number(name string, otherwise int64) int64 {
	if s, ok := w.named[name]; ok {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	return otherwise
}

func (w words) duration(name string, otherwise time.Duration) time.Duration {
	if s, ok := w.named[name]; ok {
		return mustDuration(s)
	}
	return otherwise
}

func mustDuration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

// positions are the numbers and ranges among the arguments from some on.
func (w words) positions(from int) (positions []uint64) {
	for _, s := range w.plain[from:] {
		first, last, ok := strings.Cut(s, "-")
		if !ok {
			last = first
		}
		for n := mustNumber(first); n <= mustNumber(last); n++ {
			positions = append(positions, n)
		}
	}
	return positions
}

func mustNumber(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// command does one thing and says what comes of it.
func (p *player) command(fields []string) error {
	w := parseWords(fields[1:])
	if fields[0] == "options" {
		return p.options(w)
	}
	if p.m == nil {
		p.begin()
	}
	var err error
	switch fields[0] {
	case "join":
		c := Credit{w.number("events", Unlimited), w.number("bytes", Unlimited)}
		var l Lease
		if l, err = p.m.Join(Consumer{w.plain[0], int(w.number("workers", 1)), int(w.number("buffer", 0))}, c); err == nil {
			p.leases[w.plain[0]] = l
		}
	case "leave", "crash":
		err = p.m.Leave(p.now, p.leases[w.plain[0]], fields[0] == "leave")
	case "credit":
		err = p.m.Credit(p.leases[w.plain[0]], Credit{w.number("events", 0), w.number("bytes", 0)})
	case "recall":
		err = p.m.Recall(p.leases[w.plain[0]], w.positions(1))
	case "feed":
		err = p.feed(w)
	case "ack":
		err = p.m.Ack(p.now, p.leases[w.plain[0]], w.positions(1))
	case "ack-up-to":
		err = p.m.AckUpTo(p.now, p.leases[w.plain[0]], w.positions(1)[0])
	case "nack":
		n := Nack{Action: Action(w.plain[1]), Delay: w.duration("delay", ByPolicy), Reason: w.named["reason"]}
		err = p.m.Nack(p.now, p.leases[w.plain[0]], w.positions(2), n)
	case "extend":
		err = p.m.Extend(p.now, p.leases[w.plain[0]], w.positions(2), mustDuration(w.plain[1]))
	default:
		return p.control(fields[0], w)
	}
	p.failed(err)
	p.advance()
	return nil
}

// control is for the commands that are not a subscriber's.
func (p *player) control(name string, w words) error {
	switch name {
	case "tick":
		p.now = p.now.Add(mustDuration(w.plain[0]))
	case "pause":
		p.m.Pause()
	case "resume":
		p.m.Resume()
	case "stop":
		p.m.Stop(strings.Join(w.plain, " "))
	case "flush":
		p.m.Flush()
	case "drain":
		if at := p.m.Drain(); !at.IsZero() {
			p.say("in %s", at.Sub(p.now))
		}
	case "undrain":
		p.m.Undrain()
	case "stores":
		p.byHand = w.plain[0] == "by-hand"
		return nil
	case "stored":
		p.stored(w.plain)
	case "replay":
		var events []Replay
		for _, it := range p.items(w.plain) {
			record := p.parked[it.Position]
			it.Key = cmp.Or(it.Key, record.Key)
			events = append(events, Replay{it, record.Attempts, record.Failures})
		}
		p.say("taken %d", p.m.Replay(events))
	case "drop":
		var refs []ParkedRef
		for _, position := range w.positions(0) {
			refs = append(refs, ParkedRef{position, p.parked[position].Key})
		}
		p.say("taken %d", p.m.Drop(refs))
	case "expire":
		p.m.Expire(p.now, w.positions(0))
	case "restart":
		p.restart()
	case "read":
		p.say("%d events %d bytes", p.m.toRead().Events, p.m.toRead().Bytes)
		return nil
	case "wake":
		p.wake()
		return nil
	case "trace":
		p.trace(w)
		return nil
	case "info":
		p.info(w)
		return nil
	default:
		return errors.New("unknown command")
	}
	p.advance()
	return nil
}

// options sets options, by their names in JSON but in durations.
func (p *player) options(w words) error {
	o := &p.config.Options
	for name, value := range w.named {
		switch name {
		case "concurrency":
			o.ConcurrencyLimit = int(mustNumber(value))
		case "buffer":
			o.BufferSize = int(mustNumber(value))
		case "threshold":
			o.CheckpointThreshold = int(mustNumber(value))
		case "after":
			o.CheckpointAfterMs = mustDuration(value).Milliseconds()
		case "ack-timeout":
			o.AckTimeoutMs = mustDuration(value).Milliseconds()
		case "retries":
			o.Retry.Max = int(mustNumber(value))
		case "min-backoff":
			o.Retry.MinMs = mustDuration(value).Milliseconds()
		case "max-backoff":
			o.Retry.MaxMs = mustDuration(value).Milliseconds()
		case "then":
			o.Retry.Then = Then(value)
		case "partition":
			o.PartitionBy = value
		case "on-park":
			o.OnPark = OnPark(value)
		case "checkpoint":
			p.config.Checkpoint = mustNumber(value)
		case "window":
			p.config.Window.Events = int(mustNumber(value))
		case "window-bytes":
			p.config.Window.Bytes = int(mustNumber(value))
		default:
			return fmt.Errorf("unknown option %s", name)
		}
	}
	o.Paused = slices.Contains(w.plain, "paused")
	return o.Validate()
}

func (p *player) begin() { p.m = New(p.now, p.config) }

// items parses events: a position or a range, with :key, and with ! for a fault.
func (p *player) items(texts []string) (items []Item) {
	for _, s := range texts {
		s, key, _ := strings.Cut(s, ":")
		s, fault := strings.CutSuffix(s, "!")
		for _, position := range (words{plain: []string{s}}).positions(0) {
			it := Item{Position: position, RecordedMicros: epoch.UnixMicro(), Raw: make([]byte, max(p.size, 1)), Key: key}
			if fault {
				it.Fault = "no-value"
			}
			items = append(items, it)
		}
	}
	return items
}

func (p *player) feed(w words) error {
	live := len(w.plain) > 0 && w.plain[len(w.plain)-1] == "live"
	if live {
		w.plain = w.plain[:len(w.plain)-1]
	}
	p.size = int(w.number("size", 1))
	items := p.items(w.plain)
	cursor := p.m.window.cursor
	if n := len(items); n > 0 {
		cursor = items[n-1].Position
	}
	return p.m.Feed(items, uint64(w.number("cursor", int64(cursor))), live)
}

func (p *player) stored(result []string) {
	var err error
	switch {
	case len(result) == 0:
		p.commit()
	case result[0] == "failed":
		err = core.Errorf(core.CodeStoreReadOnly, "no")
	case result[0] == "conflict":
		err = core.Errorf(core.CodeRecordConflict, "no")
	}
	p.store = nil
	p.m.Stored(p.now, err)
}

// commit is storage.
func (p *player) commit() {
	p.config.Checkpoint = p.store.Checkpoint
	for _, e := range p.store.Park {
		p.parked[e.Position] = e
	}
	for _, r := range p.store.Remove {
		delete(p.parked, r.Position)
	}
	for _, f := range p.store.Failed {
		p.failures[f.Position] = f
	}
	for _, position := range p.store.Forget {
		delete(p.failures, position)
	}
}

// restart begins a new machine from what is stored.
func (p *player) restart() {
	p.config.Parked = nil
	for position, e := range p.parked {
		p.config.Parked = append(p.config.Parked, ParkedRef{position, e.Key})
	}
	p.config.Failed = slices.SortedFunc(maps.Values(p.failures), func(a, b FailedEvent) int { return cmp.Compare(a.Position, b.Position) })
	p.config.Lease += 1000
	p.store = nil
	p.begin()
	p.say("checkpoint %d", p.config.Checkpoint)
}

func (p *player) failed(err error) {
	if err == nil {
		return
	}
	e := core.AsError(err)
	if len(e.Positions) > 0 {
		p.say("error %s %s", e.Code, list(e.Positions))
		return
	}
	p.say("error %s", e.Code)
}

func list(positions []uint64) string { return strings.Trim(fmt.Sprint(positions), "[]") }

// advance says what the machine does, and answers its stores unless the scenario
// does.
func (p *player) advance() {
	for {
		o := p.m.Advance(p.now)
		for _, s := range o.Sends {
			p.sent(s)
		}
		if o.Changed {
			if p.m.Reason() != "" {
				p.say("state %s: %s", o.State, p.m.Reason())
			} else {
				p.say("state %s", o.State)
			}
		}
		if o.Store == nil {
			return
		}
		p.stores(o.Store)
		if p.byHand {
			return
		}
		p.stored(nil)
	}
}

func (p *player) sent(s Send) {
	var b strings.Builder
	for name, l := range p.leases {
		if l == s.Lease {
			fmt.Fprintf(&b, "send %s", name)
		}
	}
	for _, d := range s.Events {
		fmt.Fprintf(&b, " %d", d.Position)
		if d.Attempt > 1 {
			fmt.Fprintf(&b, "#%d", d.Attempt)
		}
	}
	p.say("%s", b.String())
}

func (p *player) stores(s *Store) {
	p.store = s
	var b strings.Builder
	fmt.Fprintf(&b, "store %d", s.Checkpoint)
	for _, e := range s.Park {
		fmt.Fprintf(&b, ", park %d (%s", e.Position, e.Cause)
		if e.Reason != "" {
			fmt.Fprintf(&b, ": %s", e.Reason)
		}
		fmt.Fprintf(&b, "; attempts %d)", e.Attempts)
	}
	for _, r := range s.Remove {
		fmt.Fprintf(&b, ", remove %d", r.Position)
	}
	for _, f := range s.Failed {
		fmt.Fprintf(&b, ", failed %d (%d of %d", f.Position, f.Failed, f.Attempts)
		if !f.NotBefore.IsZero() {
			fmt.Fprintf(&b, "; waits %s", f.NotBefore.Sub(p.now))
		}
		b.WriteString(")")
	}
	for _, position := range s.Forget {
		fmt.Fprintf(&b, ", forget %d", position)
	}
	p.say("%s", b.String())
}

func (p *player) wake() {
	o := p.m.Advance(p.now)
	if o.Wake.IsZero() {
		p.say("never")
	} else {
		p.say("in %s", o.Wake.Sub(p.now))
	}
}

// trace prints the failures of a parked event.
func (p *player) trace(w words) {
	for _, f := range p.parked[w.positions(0)[0]].Failures {
		p.say("%s attempt %d to %s: %s %s", f.At.Sub(epoch), f.Attempt, f.Consumer, f.Cause, f.Reason)
	}
}

func (p *player) info(w words) {
	i := p.m.Info(p.now, uint64(w.number("head", 0)))
	p.say("%s checkpoint=%d cursor=%d lag=%d age=%s", i.State, i.Checkpoint, i.Cursor, i.Lag, i.LagTime)
	p.say("waiting=%d in-flight=%d retrying=%d parking=%d", i.Waiting, i.InFlight, i.Retrying, i.Parking)
	t := i.Totals
	p.say("sent=%d redelivered=%d acked=%d failed=%d skipped=%d parked=%d ack-time=%s",
		t.Sent, t.Redelivered, t.Acked, t.Failed, t.Skipped, t.Parked, t.AckTime)
	if t.Expired > 0 {
		p.say("expired=%d", t.Expired)
	}
	for _, s := range i.Subscribers {
		last := "never"
		if !s.LastAck.IsZero() {
			last = s.LastAck.Sub(epoch).String()
		}
		p.say("%s: in-flight=%d acked=%d last-ack=%s", s.Consumer, s.InFlight, s.Acked, last)
	}
}
