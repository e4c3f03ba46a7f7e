package wire_test

import (
	"bytes"
	"errors"
	"reflect"
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
	return list
}

func TestPeerFramesComeBack(t *testing.T) {
	for _, message := range peerFrames() {
		frames := wire.NewFrames(message, wire.Uncompressed, 1<<20)
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
