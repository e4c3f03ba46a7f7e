package arbitertest

import (
	"errors"
	"reflect"
	"strings"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/ring"
)

func register(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	if a.Session >= b.Session {
		s.Errorf("sessions %d, then %d", a.Session, b.Session)
	}
	s.listed(a, b)
}

func supersede(s *suite) {
	old, b := s.join(s.A, "a"), s.join(s.A, "b")
	a := s.join(s.B, "a")
	s.listed(b, a)
	if _, err := s.A.Beat(s.Context(), old.Session, 0, false); !errors.Is(err, core.CodeNodeSuperseded) {
		s.Errorf("the older session: %v", err)
	}
	if _, err := s.B.Beat(s.Context(), a.Session, 0, false); err != nil {
		s.Errorf("the newer session: %v", err)
	}
}

func mismatch(s *suite) {
	a := s.join(s.A, "a")
	if _, err := s.B.Register(s.Context(), "other", member("b"), secret("b")); !errors.Is(err, core.CodeClusterMismatch) {
		s.Errorf("another ring: %v", err)
	}
	far := member("b")
	far.Protocol += 2
	if _, err := s.B.Register(s.Context(), name, far, secret("b")); !errors.Is(err, core.CodeClusterMismatch) {
		s.Errorf("another protocol: %v", err)
	}
	secure := member("b")
	secure.TLS = true
	if _, err := s.B.Register(s.Context(), name, secure, secret("b")); !errors.Is(err, core.CodeClusterMismatch) || !strings.Contains(err.Error(), "TLS") {
		s.Errorf("TLS where the other node has none: %v", err)
	}
	s.listed(a)
	// A ring of one node can be given another name.
	if _, err := s.B.Register(s.Context(), "other", member("a"), secret("a")); err != nil {
		s.Error(err)
	}
}

func protocols(s *suite) {
	next := member("b")
	next.Protocol++
	a := s.join(s.A, "a")
	session, err := s.B.Register(s.Context(), name, next, secret("b"))
	if err != nil {
		s.Fatal(err)
	}
	next.Session = session
	s.listed(a, next)
}

func beats(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	beat := func(released uint64, draining bool) ring.Standing {
		s.Helper()
		standing, err := s.A.Beat(s.Context(), a.Session, released, draining)
		if err != nil {
			s.Fatal(err)
		}
		return standing
	}
	before, _ := ptr(beat(0, false)).Session(a.Session)
	expect := func(standing ring.Standing, beats, released uint64, draining bool) {
		s.Helper()
		got, ok := standing.Session(a.Session)
		if !ok || got.Beats != before.Beats+beats || got.Released != released || got.Draining != draining {
			s.Errorf("%+v, want %d beats more than %d, released %d, draining %v", got, beats, before.Beats, released, draining)
		}
		if other, ok := standing.Session(b.Session); !ok || other.Released != 0 || other.Draining || !reflect.DeepEqual(other.Member, b) {
			s.Errorf("the other session: %+v", other)
		}
	}
	expect(beat(3, true), 1, 3, true)
	expect(beat(2, false), 2, 3, false) // what is released stays released
	seen, err := s.B.Beat(s.Context(), b.Session, 0, false)
	if err != nil {
		s.Fatal(err)
	}
	expect(seen, 2, 3, false)
}

func leave(s *suite) {
	a, b := s.join(s.A, "a"), s.join(s.B, "b")
	for range 2 {
		if err := s.A.Leave(s.Context(), a.Session); err != nil {
			s.Error(err)
		}
	}
	s.listed(b)
	for _, ended := range []uint64{a.Session, 0, b.Session + 1} {
		if _, err := s.A.Beat(s.Context(), ended, 0, false); !errors.Is(err, core.CodeNotMember) {
			s.Errorf("session %d: %v", ended, err)
		}
	}
	again := s.join(s.A, "a")
	if again.Session <= b.Session {
		s.Errorf("session %d after %d", again.Session, b.Session)
	}
	s.listed(b, again)
}

func ptr[T any](v T) *T { return &v }
