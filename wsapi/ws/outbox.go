package ws

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/gyre-events/gyre/wsapi/requests"
	"github.com/gyre-events/gyre/wsapi/wire"
)

const (
	// maxMessage is up to where messages are joined into one.
	maxMessage = 64 << 10
	// minBlock is from where the events of a frame are not copied into the queue:
	// many connections may wait to be sent the same.
	minBlock = 16 << 10
	// resultBytes is what a result counts for before it is encoded.
	resultBytes = 16
)

// outbox is what waits to be written to one connection, in order. Whoever has
// something to say appends it; the connection's writer takes all there is at once,
// so that many replies become few writes. An empty outbox holds no memory.
type outbox struct {
	limit int           // bytes beyond which nobody who can wait may add
	wake  chan struct{} // tells the writer that there is something; holds 1

	mu      sync.Mutex       // protects the fields below
	memory  requests.Account // of what is queued, and of events that are about to be
	arena   *requests.Buffer
	entries []entry
	results []wire.Result
	queued  int           // bytes taken in and not yet written
	room    chan struct{} // closed when there is room again; nil if nobody waits
	closed  bool          // nothing more is taken in
	batch   bool          // text messages may be joined by line breaks
}

// entry is one WebSocket message: the next n bytes of the arena, and the block.
type entry struct {
	binary bool
	n      int
	block  []byte
}

func newOutbox(limit int, memory requests.Account) *outbox {
	return &outbox{limit: limit, memory: memory, wake: make(chan struct{}, 1)}
}

// joinText allows text messages to be joined from now on.
func (o *outbox) joinText(batch bool) {
	o.mu.Lock()
	o.batch = batch
	o.mu.Unlock()
}

// text adds a JSON message. It copies msg.
func (o *outbox) text(msg []byte) { o.add(false, nil, msg) }

// frame adds a binary frame of two parts. The block is immutable, and may be kept.
func (o *outbox) frame(header, block []byte) { o.add(true, header, block) }

// subText and subFrame add for a sub, unless it is over by now: what comes after
// the answer to an unsubscribe would be taken for the next sub of that number.
func (o *outbox) subText(s *sub, msg []byte)            { o.addFor(s, false, nil, msg) }
func (o *outbox) subFrame(s *sub, header, block []byte) { o.addFor(s, true, header, block) }

func (o *outbox) add(binary bool, header, body []byte) { o.addFor(nil, binary, header, body) }

func (o *outbox) addFor(s *sub, binary bool, header, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || s != nil && s.over {
		return
	}
	if o.arena == nil {
		o.arena = requests.NewBuffer()
	}
	n := len(header) + len(body)
	if binary && len(body) >= minBlock {
		o.arena.B = append(o.arena.B, header...)
		o.entries = append(o.entries, entry{true, len(header), body})
		o.queued += n
		o.memory.Add(n + len(body)) // the writer joins the two parts in another copy
		o.notify()
		return
	}
	if last := len(o.entries) - 1; last >= 0 && o.entries[last].binary == binary && o.entries[last].block == nil &&
		(binary || o.batch) && o.entries[last].n+n < maxMessage {
		if !binary {
			o.arena.B = append(o.arena.B, '\n')
			n++
		}
		o.entries[last].n += n
	} else {
		o.entries = append(o.entries, entry{binary, n, nil})
	}
	o.arena.B = append(append(o.arena.B, header...), body...)
	o.queued += n
	o.memory.Add(n)
	o.notify()
}

// result adds the answer to an append; those that wait together become one frame.
func (o *outbox) result(r wire.Result) {
	o.mu.Lock()
	if !o.closed {
		o.results = append(o.results, r)
		o.queued += resultBytes
		o.memory.Add(resultBytes)
		o.notify()
	}
	o.mu.Unlock()
}

func (o *outbox) notify() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// reserve takes memory for up to n bytes of events that are to be read, and returns for
// how many.
func (o *outbox) reserve(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.memory.Reserve(n)
}

// settle makes what was reserved the n bytes that were read, until unreserve.
func (o *outbox) settle(reserved, n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.memory.Settle(reserved, n)
}

// unreserve gives memory back, for events that are queued now.
func (o *outbox) unreserve(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.memory.Give(n)
}

// piece is how many of n bytes to send at a time.
func (o *outbox) piece(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.memory.Piece(n)
}

// belong has the memory count for a Share.
func (o *outbox) belong(s *requests.Share) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.memory.Belong(s)
}

// release gives all memory back: nothing will be written any more.
func (o *outbox) release() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.memory.Release()
}

// hasEnough says that there is a message of the largest size, or nothing is taken in
// any more.
func (o *outbox) hasEnough() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed || o.queued >= o.memory.Piece(maxMessage)
}

// endSub makes s say nothing more.
func (o *outbox) endSub(s *sub) {
	o.mu.Lock()
	s.over = true
	o.mu.Unlock()
}

// waitRoom waits until less than the limit is queued.
func (o *outbox) waitRoom(ctx context.Context) error {
	for {
		o.mu.Lock()
		if o.queued < o.memory.Piece(o.limit) || o.closed {
			o.mu.Unlock()
			return ctx.Err()
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// load is what the writer takes out at once.
type load struct {
	arena   *requests.Buffer
	entries []entry
}

// take moves everything into l, whose entries are used again. It reports whether
// there was anything.
func (o *outbox) take(l *load) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.results) > 0 {
		o.addResults()
	}
	l.arena, o.arena = o.arena, nil
	l.entries, o.entries = o.entries, l.entries[:0]
	return len(l.entries) > 0
}

func (o *outbox) addResults() {
	if o.arena == nil {
		o.arena = requests.NewBuffer()
	}
	slices.SortStableFunc(o.results, func(a, b wire.Result) int { return strings.Compare(a.Node, b.Node) }) // a frame for each node
	before := len(o.arena.B)
	o.arena.B = wire.AppendResults(o.arena.B, o.results)
	n := len(o.arena.B) - before
	o.queued += n - len(o.results)*resultBytes
	o.memory.Add(n)
	o.memory.Give(len(o.results) * resultBytes)
	o.results = o.results[:0]
	if last := len(o.entries) - 1; last >= 0 && o.entries[last].binary && o.entries[last].block == nil {
		o.entries[last].n += n
	} else {
		o.entries = append(o.entries, entry{true, n, nil})
	}
}

// written tells that l is done with.
func (o *outbox) written(l *load) {
	n, blocks := len(l.arena.B), 0
	for i := range l.entries {
		blocks += len(l.entries[i].block)
	}
	clear(l.entries)
	l.arena.Free()
	l.arena = nil
	o.mu.Lock()
	o.queued -= n + blocks
	o.memory.Give(n + 2*blocks)
	if o.room != nil && o.queued < o.memory.Piece(o.limit) {
		close(o.room)
		o.room = nil
	}
	o.mu.Unlock()
}

// close takes nothing more in and lets nobody wait. What is there can be taken.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
	o.notify()
}

func (o *outbox) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed && len(o.entries) == 0 && len(o.results) == 0
}
