package runtime

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gyre-events/gyre/access/keys"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/wsapi"
)

// changes is a Store whose clients remove events only if the node allows it, and snapshots and
// policies of retention with them. What they change as a whole is in the audit before they are answered.
type changes struct {
	wsapi.Store
	hardDeletes bool
	keys        *keys.Keys
	logger      *slog.Logger
	running     *sync.WaitGroup // those of Submit that are not answered
	forget      forgetting
}

// forgetting waits until no node that serves hands out what was removed, or expired by a policy.
type forgetting struct {
	removed  func(context.Context) error
	policies bool // also after a policy of retention was put: other nodes have to learn of it
}

// expireWithin bounds the wait until the nodes have dropped what was removed.
const expireWithin = 10 * time.Second

// changeTypes are the types of events of the audit.
var changeTypes = map[core.StreamAction]string{
	core.DeleteStream:    "StreamDeleted",
	core.UndeleteStream:  "StreamUndeleted",
	core.RemoveStream:    "StreamRemoved",
	core.TombstoneStream: "StreamTombstoned",
}

// serveChanges has the API change whole streams.
func (n *Node) serveChanges(c *wsapi.Config) {
	c.Store = &changes{Store: c.Store, hardDeletes: n.config.HardDeletes, keys: n.keys, logger: n.logger, running: &n.changing,
		forget: n.forgetting()}
	if n.config.HardDeletes {
		c.Extensions = append(c.Extensions, wsapi.Extension{Feature: "hard-deletes"})
	}
}

// forgetting is that of the ring or, without one, of this node: its Store has learned of what was
// removed by the Commit, and its reads of a policy.
func (n *Node) forgetting() forgetting {
	if n.ring != nil {
		return forgetting{removed: n.ring.router.Forget, policies: true}
	}
	return forgetting{removed: func(ctx context.Context) error { return n.subs.AwaitExpired(ctx) }}
}

// removeTries is how often Append tries to remove events of streams on which others put their
// first policies meanwhile.
const removeTries = 3

// Append is core.Log.Append.
func (s *changes) Append(ctx context.Context, c core.Commit) (core.Result, error) {
	for tries := 1; ; tries++ {
		prepared := c
		if err := s.prepare(ctx, &prepared); err != nil {
			return core.Result{}, err
		}
		r, err := s.Store.Append(ctx, prepared)
		if tries == removeTries || !c.Removes() || !errors.Is(err, core.CodeRecordConflict) {
			return r, s.finish(ctx, &prepared, r, err)
		}
	}
}

// finish has the audit know of c, deletes snapshots that were recorded while c was under way, and
// waits until nothing that c has removed is handed out.
func (s *changes) finish(ctx context.Context, c *core.Commit, r core.Result, err error) error {
	s.record(ctx, c, r, err)
	if err != nil || !s.awaits(c) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, expireWithin)
	defer cancel()
	done := "the policy is put"
	if c.Removes() {
		done = "the events are removed"
		if err := core.RemoveLateSnapshots(ctx, s.Store, c); err != nil {
			return core.Errorf(core.CodeUnknownOutcome, "%s, but snapshots that were recorded meanwhile may be left: %w", done, err)
		}
	}
	if err := s.forget.removed(ctx); err != nil {
		return core.Errorf(core.CodeUnknownOutcome, "%s, but not every node has confirmed that it drops them: those that have not do so when they can: %w", done, err)
	}
	return nil
}

// awaits reports whether what c does is waited for when it is written.
func (s *changes) awaits(c *core.Commit) bool {
	return c.Removes() || s.forget.policies && c.PutsRetention()
}

// Submit is core.Store.Submit. To remove events it waits until their snapshots are found, as
// what is submitted after them must come after them. So it does not try again as Append does.
func (s *changes) Submit(ctx context.Context, c core.Commit, done func(core.Result, error)) {
	if err := s.prepare(ctx, &c); err != nil {
		done(core.Result{}, err)
		return
	}
	if !s.awaits(&c) && (len(c.Streams) == 0 || !s.keys.Protected()) {
		s.Store.Submit(ctx, c, done)
		return
	}
	type answer struct {
		result core.Result
		err    error
	}
	answers := make(chan answer, 1)
	s.running.Go(func() {
		a := <-answers
		done(a.result, s.finish(ctx, &c, a.result, a.err))
	})
	s.Store.Submit(ctx, c, func(r core.Result, err error) { answers <- answer{r, err} })
}

// prepare has c remove snapshots and policies with their events, unless the node does not write it.
func (s *changes) prepare(ctx context.Context, c *core.Commit) error {
	if len(c.Streams) == 0 {
		return nil
	}
	if err := s.refuse(c); err != nil {
		return err
	}
	if err := core.RemoveRetentions(ctx, s.Store, c); err != nil {
		return err
	}
	return core.RemoveSnapshots(ctx, s.Store, c)
}

// refuse returns why the node does not write c.
func (s *changes) refuse(c *core.Commit) error {
	for i := range c.Streams {
		if op := &c.Streams[i]; op.Action.Removes() && !s.hardDeletes {
			element := len(c.Appends) + len(c.Checks) + i
			e := core.Errorf(core.CodeHardDeletesOff, "the events of stream %q cannot be removed: hard deletes are off", core.Clip(op.Stream))
			e.Stream, e.Element = op.Stream, &element
			return e
		}
	}
	return nil
}

// record has the audit know what c has done to streams. Of a store without keys nobody knows who
// it was.
func (s *changes) record(ctx context.Context, c *core.Commit, r core.Result, err error) {
	var outcome core.Code
	if errors.Is(err, core.CodeUnknownOutcome) {
		outcome = core.CodeUnknownOutcome
	} else if err != nil || r.Duplicate {
		return
	}
	if len(c.Streams) == 0 || !s.keys.Protected() {
		return
	}
	var recording sync.WaitGroup // at once, so that they share steps of the log
	for i := range c.Streams {
		op := &c.Streams[i]
		recording.Go(func() {
			act := keys.Act{Target: op.Stream, Outcome: outcome, Detail: changeDetail{op.Expect.String()}}
			if err := s.keys.Record(ctx, changeTypes[op.Action], act); err != nil {
				s.logger.ErrorContext(ctx, "the audit lacks what was done", "act", changeTypes[op.Action], "target", core.Clip(op.Stream), "error", err)
			}
		})
	}
	recording.Wait()
}

// changeDetail is what the audit has of a change of a stream beside its name.
type changeDetail struct {
	Expect string `json:"expect"` // the version that the stream had to have
}
