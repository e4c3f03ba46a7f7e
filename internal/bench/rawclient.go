package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// rawClient speaks gyre.v1 and does nothing else: it costs little, and the same for
// whatever is compared.
type rawClient struct {
	*websocket.Conn
	in   bytes.Buffer // the last message; its events are views into it
	out  []byte
	last uint64 // id of a request
}

func dialRaw(url, subprotocol string) (*rawClient, error) {
	dialer := websocket.Dialer{Subprotocols: []string{subprotocol}, ReadBufferSize: 64 << 10}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/v1/ws", nil)
	if err != nil {
		return nil, err
	}
	c := &rawClient{Conn: conn, last: 1}
	if err := c.say(&wire.Hello{ID: 1}); err != nil {
		return nil, err
	}
	_, _, err = c.next()
	return c, err
}

func dialRaws(url string, n int) (clients []*rawClient, err error) {
	for range n {
		c, err := dialRaw(url, wire.Bin)
		if err != nil {
			return clients, err
		}
		clients = append(clients, c)
	}
	return clients, nil
}

func closeRaws(clients []*rawClient) {
	for _, c := range clients {
		_ = c.Close()
	}
}

func (c *rawClient) say(m wire.Message) error {
	c.out = wire.Encode(c.out[:0], m)
	return c.WriteMessage(websocket.TextMessage, c.out)
}

// next receives a message: a text one, or frames.
func (c *rawClient) next() (wire.Message, *wire.Frames, error) {
	kind, r, err := c.NextReader()
	if err != nil {
		return nil, nil, err
	}
	c.in.Reset()
	if _, err := c.in.ReadFrom(r); err != nil {
		return nil, nil, err
	}
	message := c.in.Bytes()
	if kind == websocket.BinaryMessage {
		frames := wire.NewFrames(message, wire.Uncompressed, 0)
		return nil, &frames, nil
	}
	m, err := wire.DecodeServer(message)
	switch m := m.(type) {
	case *wire.Failure:
		return nil, nil, fmt.Errorf("refused: %w", m.Error.Err())
	case *wire.End:
		return nil, nil, fmt.Errorf("ended: %w", m.Error.Err())
	}
	return m, nil, err
}

// append appends one event and waits for the result.
func (c *rawClient) append(stream string) error {
	c.last++
	c.out = wire.AppendCommit(c.out[:0], &wire.CommitFrame{
		ID: c.last, Commit: core.Commit{Appends: []core.Append{{Stream: stream, Expect: core.AnyVersion, Events: newEvents(1)}}},
	})
	if err := c.WriteMessage(websocket.BinaryMessage, c.out); err != nil {
		return err
	}
	m, frames, err := c.next()
	if err != nil || frames == nil {
		return errors.Join(err, fmt.Errorf("an append was answered %T", m))
	}
	if _, ok := frames.Kind(); !ok {
		return errors.New("an append was answered with nothing")
	}
	results, err := frames.Results(nil, 1)
	if err == nil && (len(results) != 1 || results[0].ID != c.last) {
		err = fmt.Errorf("append %d was answered %+v", c.last, results)
	}
	return err
}

// subscribe sends m and waits for its ok, before which nothing else comes.
func (c *rawClient) subscribe(m *wire.Subscribe) error {
	if err := c.say(m); err != nil {
		return err
	}
	answer, _, err := c.next()
	if _, ok := answer.(*wire.OK); err == nil && !ok {
		return fmt.Errorf("subscribe was answered %T", answer)
	}
	return err
}

// unsubscribe ends a sub and takes what still comes of it.
func (c *rawClient) unsubscribe(id, sub uint64) error {
	if err := c.say(&wire.Unsubscribe{ID: id, Sub: sub}); err != nil {
		return err
	}
	for {
		m, _, err := c.next()
		if ok, is := m.(*wire.OK); err != nil || is && ok.ID == id {
			return err
		}
	}
}

// receive takes events for d, or until there are no more if untilLive, and has each frame done with.
// What that adds to out goes out in one message.
func (c *rawClient) receive(d time.Duration, untilLive bool, done func(sub uint64, b core.Batch)) (events int, err error) {
	begin := time.Now()
	for time.Since(begin) < d {
		m, frames, err := c.next()
		if status, ok := m.(*wire.Status); err != nil || ok && untilLive && status.State == wire.StateLive {
			return events, err
		}
		c.out = c.out[:0]
		for frames != nil {
			if _, ok := frames.Kind(); !ok {
				break
			}
			f, err := frames.Events()
			if err != nil {
				return events, err
			}
			events += f.Batch.Count
			done(f.Sub, f.Batch)
		}
		if len(c.out) > 0 {
			if err := c.WriteMessage(websocket.BinaryMessage, c.out); err != nil {
				return events, err
			}
		}
	}
	return events, nil
}

// followJSON follows $all from the start for d, and counts the events without decoding
// them.
func (c *rawClient) followJSON(d time.Duration) (sample, error) {
	const credit = 4096
	err := c.subscribe(&wire.Subscribe{ID: 2, Sub: 1, Stream: core.All, Credit: &wire.Amount{Events: credit, Bytes: 16 << 20}})
	if err != nil {
		return sample{}, err
	}
	begin := time.Now()
	var total, spent, size int64
	for time.Since(begin) < d {
		_, r, err := c.NextReader()
		if err != nil {
			return sample{}, err
		}
		c.in.Reset()
		if _, err := c.in.ReadFrom(r); err != nil {
			return sample{}, err
		}
		n := int64(bytes.Count(c.in.Bytes(), []byte(`{"stream":`)))
		total, spent, size = total+n, spent+n, size+int64(c.in.Len())
		if spent >= credit/2 {
			if err := c.say(&wire.Credit{Sub: 1, Events: spent, Bytes: size}); err != nil {
				return sample{}, err
			}
			spent, size = 0, 0
		}
	}
	return rate(int(total), begin), c.unsubscribe(3, 1)
}

// ack adds an ack without an answer to out.
func (c *rawClient) ack(sub uint64, positions []uint64) {
	c.out = wire.AppendAck(c.out, &wire.Ack{Sub: sub, Positions: positions})
}

// credit adds more of it to out.
func (c *rawClient) credit(sub uint64, events, size int) {
	c.out = append(c.out, wire.FrameCredit, 0)
	for _, n := range []uint64{sub, uint64(events), uint64(size)} {
		c.out = binary.AppendUvarint(c.out, n)
	}
}
