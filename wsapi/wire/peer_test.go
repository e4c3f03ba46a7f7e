package wire_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi/wire"
)

// peerFrames are messages that only nodes send.
func peerFrames() [][]byte {
	list := [][]byte{wire.AppendHead(nil, 0), wire.AppendHead(nil, core.MaxNumber)}
	for _, v := range commitVectors() {
		list = append(list, wire.AppendCommit(wire.AppendForward(nil, 300), &v.frame))
	}
	return append(list, wire.AppendCommit(wire.AppendForward(nil, 300), expectsIncarnations()))
}

// expectsIncarnations is a Commit of which elements of each kind expect an incarnation or none.
func expectsIncarnations() *wire.CommitFrame {
	return &wire.CommitFrame{ID: 2, Commit: core.Commit{
		Appends: []core.Append{
			{Stream: "a", Expect: 3, Incarnation: 300, Events: newEvents()[:1]}, {Stream: "b", Expect: core.AnyVersion, Events: newEvents()[:1]},
			{Stream: "c", Expect: core.StreamExists, Incarnation: 1, Links: []core.ID{{1}}},
		},
		Checks: []core.Check{{Stream: "d", Expect: 1}, {Stream: "e"}},
		Streams: []core.StreamOp{
			{Stream: "f", Expect: 1}, {Stream: "g", Expect: 7, Incarnation: math.MaxUint32, Action: core.RemoveStream},
		},
		Progress: &core.Progress{Name: "billing", To: 1},
	}}
}

// TestIncarnationsAreForNodes: those that are expected arrive with their elements, from a node and
// from nobody else.
func TestIncarnationsAreForNodes(t *testing.T) {
	sent := expectsIncarnations()
	only := &wire.CommitFrame{ID: 3, Commit: core.Commit{Appends: sent.Commit.Appends[:1]}}
	for _, f := range []*wire.CommitFrame{sent, only} {
		message := wire.AppendCommit(nil, f)
		frames, got := wire.NewFrames(message, wire.Uncompressed, 0), new(wire.CommitFrame)
		frames.Checked = true
		if err := frames.Commit(got); err != nil || !got.Commit.ExpectsIncarnation() || !bytes.Equal(wire.AppendCommit(nil, got), message) {
			t.Errorf("%+v came back as %+v, %v", f.Commit, got.Commit, err)
		}
		for i, a := range got.Commit.Appends {
			if a.Incarnation != f.Commit.Appends[i].Incarnation {
				t.Errorf("append %d expects incarnation %d", i, a.Incarnation)
			}
		}
		for i, op := range got.Commit.Streams {
			if op.Incarnation != f.Commit.Streams[i].Incarnation {
				t.Errorf("change %d expects incarnation %d", i, op.Incarnation)
			}
		}
		frames = wire.NewFrames(message, wire.Uncompressed, 0)
		if err := frames.Commit(new(wire.CommitFrame)); !errors.Is(err, core.CodeNotSupported) {
			t.Errorf("from a client: %v", err)
		}
	}
}

// TestIncarnationsOfNothing: a field of an incarnation that no element can expect is refused.
func TestIncarnationsOfNothing(t *testing.T) {
	field := func(value ...byte) []byte { return append([]byte{3, 0, byte(len(value)), 0}, value...) }
	change := []byte{2, 0, 3, 0, byte(core.DeleteStream), 0, 's'}
	for name, fields := range map[string][]byte{
		"of a check":            append(change, field(0, 1)...),
		"of no element":         append(change, field(2, 1)...),
		"before its change":     append(field(1, 1), change...),
		"that is 0":             append(change, field(1, 0)...),
		"twice":                 slices.Concat(change, field(1, 1), field(1, 1)),
		"that is too great":     append(change, field(1, 0x80, 0x80, 0x80, 0x80, 0x10)...),
		"with more behind it":   append(change, field(1, 1, 1)...),
		"without an element":    append(change, field()...),
		"of which half is left": append(change, field(1)...),
	} {
		message := append([]byte{wire.FrameCommit, 0x10, 2, 0, 1, 0, 1, 'c', byte(len(fields))}, fields...)
		frames := wire.NewFrames(message, wire.Uncompressed, 0)
		frames.Checked = true
		if err := frames.Commit(new(wire.CommitFrame)); !errors.Is(err, core.CodeProtocolError) {
			t.Errorf("an incarnation %s: %v", name, err)
		}
	}
}

func TestPeerFramesComeBack(t *testing.T) {
	for _, message := range peerFrames() {
		frames := wire.NewFrames(message, wire.Uncompressed, 1<<20)
		frames.Checked = true
		var again []byte
		if err := takeFrame(&frames, &again); err != nil || !bytes.Equal(again, message) {
			t.Errorf("%x came back as %x, %v", message, again, err)
		}
	}
}

func TestForwardNeedsACommit(t *testing.T) {
	commit := commitVectors()[0].frame
	for name, message := range map[string][]byte{
		"alone":        wire.AppendForward(nil, 7),
		"before HEAD":  wire.AppendHead(wire.AppendForward(nil, 7), 1),
		"twice":        wire.AppendCommit(wire.AppendForward(wire.AppendForward(nil, 7), 7), &commit),
		"of epoch 0":   wire.AppendCommit(wire.AppendForward(nil, 0), &commit),
		"cut":          wire.AppendForward(nil, 300)[:3],
		"with a codec": {wire.FrameForward, 1, 7, wire.FrameAppend},
	} {
		frames := wire.NewFrames(message, wire.Uncompressed, 1<<20)
		if _, err := frames.Forward(); !errors.Is(err, core.CodeProtocolError) {
			t.Errorf("FORWARD %s: %v", name, err)
		}
	}
}

// A node does not check again what the node that forwards it has checked.
func TestForwardedEventsAreCheckedOnce(t *testing.T) {
	event := core.NewEvent{ID: core.NewID(), Type: "A", Format: core.JSON, Data: []byte("{")}
	message := wire.AppendCommit(nil, &wire.CommitFrame{ID: 2, Commit: core.Commit{
		Appends: []core.Append{{Stream: "s", Expect: core.AnyVersion, Events: []core.NewEvent{event}}},
	}})
	for _, checked := range []bool{false, true} {
		frames := wire.NewFrames(message, wire.Uncompressed, 1<<20)
		frames.Checked = checked
		if err := frames.Commit(new(wire.CommitFrame)); (err == nil) != checked || !checked && !errors.Is(err, core.CodeInvalidData) {
			t.Errorf("checked before: %v, error: %v", checked, err)
		}
	}
}

func handshake(key *wire.PeerKey) wire.Handshake {
	h := wire.Handshake{Protocol: wire.PeerProtocol, Cluster: "gyre é", From: 7, To: 300, Generation: 2, Epoch: 12}
	h.Sign(key)
	return h
}

func TestHandshake(t *testing.T) {
	from, to := wire.PeerKey{Secret: [32]byte{1}}, wire.PeerKey{Secret: [32]byte{2}}
	h := handshake(&from)
	got, err := wire.ParseHandshake(h.String())
	if err != nil || got != h || !got.Verify(&from) {
		t.Fatalf("%s came back as %+v, %v", h.String(), got, err)
	}
	if proof := got.Proof(&to); !h.Proves(proof, &to) || h.Proves(proof, &from) || h.Proves("", &to) {
		t.Errorf("the proof %s is for one key only", proof)
	}
	for name, key := range map[string]wire.PeerKey{
		"another secret": to, "with a ring's key": {Secret: from.Secret, Ring: []byte("k")},
	} {
		if h.Verify(&key) {
			t.Errorf("verified by %s", name)
		}
	}
	for name, change := range map[string]func(*wire.Handshake){
		"protocol":   func(h *wire.Handshake) { h.Protocol++ },
		"cluster":    func(h *wire.Handshake) { h.Cluster = "other" },
		"from":       func(h *wire.Handshake) { h.From++ },
		"to":         func(h *wire.Handshake) { h.To++ },
		"target":     func(h *wire.Handshake) { h.Target++ },
		"generation": func(h *wire.Handshake) { h.Generation++ },
		"use":        func(h *wire.Handshake) { h.Use = wire.ForRequests },
		"epoch":      func(h *wire.Handshake) { h.Epoch++ },
	} {
		other := h
		if change(&other); other.Verify(&from) {
			t.Errorf("the MAC does not cover %s", name)
		}
		if h.Proves(other.Proof(&to), &to) {
			t.Errorf("the proof does not cover %s", name)
		}
	}
}

func TestHandshakeRefused(t *testing.T) {
	h := handshake(&wire.PeerKey{})
	text := h.String()
	for _, c := range []struct {
		text string
		code core.Code
	}{
		{"", core.CodePeerDenied},
		{"x", core.CodePeerDenied},
		{"2" + text[1:], core.CodeClusterMismatch},
		{"2 anything that a later version says", core.CodeClusterMismatch},
		{"0" + text, core.CodePeerDenied},
		{text + " ", core.CodePeerDenied},
		{text[:len(text)-1], core.CodePeerDenied},
		{strings.Replace(text, " 7 ", " 0 ", 1), core.CodePeerDenied},
		{strings.Replace(text, " 7 ", " 9007199254740993 ", 1), core.CodePeerDenied},
		{strings.Replace(text, " 7 ", " -7 ", 1), core.CodePeerDenied},
		{strings.Repeat("1", 2000), core.CodePeerDenied},
	} {
		if _, err := wire.ParseHandshake(c.text); !errors.Is(err, c.code) {
			t.Errorf("%.60q: %v, want %s", c.text, err, c.code)
		}
	}
}

func FuzzHandshake(f *testing.F) {
	h := handshake(&wire.PeerKey{})
	f.Add(h.String())
	f.Add("1 7 300 0 2 0 12  AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := wire.ParseHandshake(text)
		switch {
		case err == nil && h.String() != text:
			t.Errorf("%q was taken for %s", text, h.String())
		case err != nil && !errors.Is(err, core.CodePeerDenied) && !errors.Is(err, core.CodeClusterMismatch):
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestCommittedHasIncarnations: those that are not the first.
func TestCommittedHasIncarnations(t *testing.T) {
	written := core.Result{Position: 12, Appends: []core.Appended{
		{FirstVersion: 1, LastVersion: 2, FirstPosition: 10, LastPosition: 11}, {FirstVersion: 3, LastVersion: 3, FirstPosition: 12, LastPosition: 12, Incarnation: 300},
	}}
	frames := wire.NewFrames(wire.AppendCommitted(nil, 4, &written), wire.Uncompressed, 0)
	if kind, ok := frames.Kind(); !ok || kind != wire.FrameCommitted {
		t.Fatalf("kind %d", kind)
	}
	if id, r, err := frames.Committed(); err != nil || id != 4 || !reflect.DeepEqual(r, written) {
		t.Errorf("%d %+v, %v, want %+v", id, r, err, written)
	}
}
