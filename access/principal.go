package access

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/gyre-events/gyre/core"
)

// Principal is who asks. It does not change, and is safe for concurrent use.
type Principal struct {
	// Name tells it from others, in the audit: the id of a key, or node:ID.
	Name string
	Role Role
	// Streams are patterns of the streams that it may use as its role allows.
	Streams []string
	// Names are patterns of the subscriptions, progress, plugins and bindings that it may use
	// and change. nil is all of them.
	Names []string
	// Via is the node that has checked who it is and sent its request on; "": this one.
	Via string
	// Expires is when it ends by itself; zero: never.
	Expires time.Time

	ends context.Context // nil: it does not
}

// Anonymous is the name of Anyone.
const Anonymous = "anyone"

var (
	anyone = &Principal{Name: Anonymous, Role: roleAnyone}
	nobody = &Principal{Name: "nobody", Role: roleNobody}
)

// Nobody has given no key, or a wrong one.
func Nobody() *Principal { return nobody }

// Anyone is everybody where there are no keys. It ends with ends.
func Anyone(ends context.Context) *Principal {
	p := *anyone
	p.ends = ends
	return &p
}

// Node is another node of the ring, by its id.
func Node(id string) *Principal { return &Principal{Name: "node:" + id, Role: roleNode} }

// Sent is a principal whose request another node of the ring has sent on.
func Sent(via, name string, role Role, streams, names []string) *Principal {
	return &Principal{Name: name, Role: role, Streams: streams, Names: names, Via: via}
}

// SentBy returns p as one whose request another node has sent on.
func (p Principal) SentBy(via string) *Principal {
	p.Via = via
	return &p
}

// Until returns p as one that ends with ends, whose cause is an error of the catalogue.
func (p Principal) Until(ends context.Context) *Principal {
	p.ends = ends
	return &p
}

// Within returns p as one that ends at a time, or when end is called, with the error over, if it
// has not ended before.
func (p *Principal) Within(until time.Time, over error) (within *Principal, end func()) {
	ends := p.ends
	if ends == nil {
		ends = context.Background()
	}
	ends, cancel := context.WithCancelCause(ends)
	ends, stop := context.WithDeadlineCause(ends, until, over)
	return p.Until(ends), func() { cancel(over); stop() }
}

// Ended is done when the principal may do nothing any more; nil: never.
func (p *Principal) Ended() <-chan struct{} {
	if p.ends == nil {
		return nil
	}
	return p.ends.Done()
}

// AfterEnd calls f in a goroutine of its own when the principal ends. stop has f not called
// any more, as that of context.AfterFunc.
func (p *Principal) AfterEnd(f func(why error)) (stop func() bool) {
	if p.ends == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(p.ends, func() { f(context.Cause(p.ends)) })
}

// Equivalent reports whether p may do what other may, and no more.
func (p *Principal) Equivalent(other *Principal) bool {
	return p.Role == other.Role && slices.Equal(p.Streams, other.Streams) &&
		(p.Names == nil) == (other.Names == nil) && slices.Equal(p.Names, other.Names)
}

// Free reports whether the principal may do everything.
func (p *Principal) Free() bool { return p.Role.isFree() }

// Actions are those that its role may take, with the streams and names that it is granted.
func (p *Principal) Actions() []Action {
	return slices.DeleteFunc(Actions(), func(a Action) bool { return !p.Role.may(a) })
}

// Check decides whether the principal may do a with a target (Action.Target). "" asks whether it
// may do a with any. The error is unauthenticated of who has given no key, or whose key has ended,
// and forbidden else. Nobody changes streams of the system: of who may do everything else, the
// error is reserved_stream_name.
func (p *Principal) Check(a Action, target string) error {
	switch {
	case p.ends != nil && p.ends.Err() != nil:
		return context.Cause(p.ends)
	case p.Free() && a.writes() && target != "":
		return core.ValidateStream(target)
	case p.Free():
		return nil
	case p.Role == roleNobody && a != Open:
		return core.Errorf(core.CodeUnauthenticated, "a key is needed to %s", a.with(""))
	case !p.Role.may(a):
		return p.forbidden(a, target, "its role does not allow that")
	}
	switch kind := a.Target(); {
	case target == "":
	case kind == Stream:
		return p.checkStream(a, target)
	case kind == Name && !p.hasName(target):
		return p.forbidden(a, target, p.namesAre())
	}
	return nil
}

// Answers decides what the principal asks about itself: whether it may do a with a target, and
// with a named subscription, which Consume has besides. It says of each action what the operation
// would. The error is that of Check, or invalid_request of a question that has no answer.
func (p *Principal) Answers(a Action, target, subscription string) error {
	kind := a.Target()
	switch {
	case kind == "":
		return core.Errorf(core.CodeInvalidRequest, "action %.40q is none of %v", a, Actions())
	case kind == Nothing && target != "":
		return core.Errorf(core.CodeInvalidRequest, "%s has no target", a)
	case subscription != "" && a != Consume:
		return core.Errorf(core.CodeInvalidRequest, "a subscription is asked about with %s", Consume)
	}
	if err := p.Check(a, target); err != nil || p.Free() {
		return err
	}
	if kind == Stream && len(p.Streams) == 0 {
		return p.forbidden(a, "", "it is granted no stream")
	}
	if subscription != "" {
		return p.checkSubscription(subscription)
	}
	return nil
}

// checkSubscription checks that the principal may consume subscriptions of a name.
func (p *Principal) checkSubscription(name string) error {
	if !p.hasName(name) {
		return p.forbidden(Consume, "subscription "+name, p.namesAre())
	}
	return nil
}

func (p *Principal) checkStream(a Action, stream string) error {
	if stream == core.All && !a.writes() {
		switch {
		case !p.Role.readsAll():
			return p.forbidden(a, stream, "its role reads its own streams only")
		case len(p.Streams) == 0:
			return p.forbidden(a, stream, "it is granted no stream")
		}
		return nil
	}
	if !Matches(p.Streams, stream) {
		return p.forbidden(a, stream, "it is granted "+list(p.Streams))
	}
	return nil
}

// mayRead is Check of Read, for the stream that an event is in.
func (p *Principal) mayRead(stream string) bool {
	return p.Free() || p.Role.may(Read) && Matches(p.Streams, stream)
}

// Matches reports whether a stream is one of those that patterns grant. Streams of the system are
// granted to nobody.
func Matches(patterns []string, stream string) bool {
	return !isSystem(stream) && (isEvery(patterns) || len(patterns) > 0 && core.MatchAny(patterns, stream))
}

// hasName reports whether the principal may use what has a name.
func (p *Principal) hasName(name string) bool {
	return p.Free() || p.Names == nil || core.MatchAny(p.Names, name)
}

// Covers checks that the principal may do a with every stream that a pattern matches, as it
// must to give that to somebody else.
func (p *Principal) Covers(a Action, pattern string) error {
	if p.Free() || a != Grant && covers(p.Streams, pattern) {
		return nil
	}
	if a == Grant {
		return p.forbidden(a, pattern, "only an admin may grant what is not a stream")
	}
	return p.forbidden(a, pattern, "it is granted "+list(p.Streams))
}

func (p *Principal) forbidden(a Action, target, why string) error {
	return core.Errorf(core.CodeForbidden, "%s %s may not %s: %s", p.Role, p.Name, a.with(target), why)
}

// namesAre says in a message what a name is none of.
func (p *Principal) namesAre() string {
	if len(p.Names) == 0 {
		return "it may use no name"
	}
	return "its names are " + list(p.Names)
}

// list writes patterns for a message.
func list(patterns []string) string {
	const most = 5
	if len(patterns) == 0 {
		return "none"
	}
	shown := slices.Clone(patterns[:min(len(patterns), most)])
	for i := range shown {
		shown[i] = core.Clip(shown[i])
	}
	text := strings.Join(shown, ", ")
	if len(patterns) > most {
		text += ", …"
	}
	return text
}
