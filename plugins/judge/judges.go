package judge

import (
	"context"
	"log/slog"
	"time"
	"unicode/utf8"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
	"github.com/gyre-events/gyre/plugins/effects"
)

// Versions has the versions of plugins.
type Versions interface {
	// Version returns a version. The errors are plugin_not_found and version_not_found.
	Version(ctx context.Context, plugin, version string) (plugins.Version, error)
	// Hold returns an operation for the Commit of what uses a version. It has the Commit refused
	// with record_conflict if the version was deleted or held meanwhile.
	Hold(v *plugins.Version) (core.RecordOp, error)
	// Load returns the Program of a version. It may take seconds.
	Load(ctx context.Context, v plugins.Version) (plugins.Program, error)
}

// Judges are the plugins that subscriptions may name. It is safe for concurrent use.
type Judges struct {
	versions Versions
	logger   *slog.Logger
	counted  counted
}

var _ subscriptions.Judges = (*Judges)(nil)

// NewJudges returns Judges. What plugins log goes to the logger, as details.
func NewJudges(versions Versions, logger *slog.Logger) *Judges {
	return &Judges{versions: versions, logger: logger}
}

// Hold is subscriptions.Judges.Hold.
func (s *Judges) Hold(ctx context.Context, as subscriptions.Judge) (core.RecordOp, error) {
	v, err := s.version(ctx, as)
	if err != nil {
		return core.RecordOp{}, err
	}
	return s.versions.Hold(&v)
}

// version returns a version that can be what a definition says.
func (s *Judges) version(ctx context.Context, as subscriptions.Judge) (plugins.Version, error) {
	v, err := s.versions.Version(ctx, as.Plugin, as.Version)
	if err != nil {
		return v, err
	}
	m := &v.Manifest
	if string(m.Kind) != string(as.As) {
		return v, core.Errorf(core.CodeInvalidRequest, "plugin %s@%s is %s, and stands where %s is needed", v.Plugin, v.Version, m.Kind.A(), plugins.Kind(as.As).A())
	}
	if limits := m.Limits.OrDefaults(); limits.MemoryBytes < v.Report.MemoryBytes {
		return v, core.Errorf(core.CodeInvalidRequest,
			"plugin %s@%s cannot start: its module begins with %d bytes of memory, and its manifest allows %d", v.Plugin, v.Version, v.Report.MemoryBytes, limits.MemoryBytes)
	}
	return v, nil
}

// Open is subscriptions.Judges.Open.
func (s *Judges) Open(as subscriptions.Judge) (subscriptions.Program, error) {
	return &program{judges: s, as: as}, nil
}

// program is the subscriptions.Program of a plugin.
type program struct {
	judges *Judges
	as     subscriptions.Judge
	judge  *Judge // nil before the first Run
	counts *counts
	events []abi.Event
}

// Run is subscriptions.Program.Run. It judges one batch.
func (p *program) Run(ctx context.Context, b core.Batch, dst []subscriptions.Verdict) ([]subscriptions.Verdict, error) {
	if p.judge == nil {
		if err := p.load(ctx); err != nil {
			return dst, err
		}
	}
	p.events = p.events[:0]
	for e := range b.Events() {
		if len(p.events) == p.judge.MaxEvents() {
			break
		}
		out := effects.EventOf(&e, nil)
		out.Attempt = 1
		p.events = append(p.events, out)
	}
	began := time.Now()
	before, _ := p.judge.Fuel()
	verdicts, err := p.judge.Judge(ctx, p.events)
	after, _ := p.judge.Fuel()
	p.counts.add(verdicts, after-before, began)
	clear(p.events) // they hold the block in memory
	for i := range verdicts {
		dst = append(dst, p.verdict(&verdicts[i]))
	}
	return dst, err
}

// load loads the plugin.
func (p *program) load(ctx context.Context) error {
	v, err := p.judges.version(ctx, p.as)
	if err != nil {
		return err
	}
	loaded, err := p.judges.versions.Load(ctx, v)
	if err != nil {
		return err
	}
	p.counts = p.judges.counted.use(&v)
	p.judge = New(loaded, &v, logged{p.judges.logger.With("plugin", v.Plugin, "version", v.Version)})
	return nil
}

// verdict is a Verdict as a subscription needs it.
func (p *program) verdict(v *Verdict) subscriptions.Verdict {
	switch {
	case v.Fault != "":
		return subscriptions.Verdict{Fault: v.Fault}
	case p.as.As == subscriptions.AsFilter:
		return subscriptions.Verdict{Keep: v.Action == abi.Ack}
	case p.as.As == subscriptions.AsPartition && !utf8.Valid(v.Value):
		return subscriptions.Verdict{Fault: p.judge.name + ": the key is not UTF-8"}
	case p.as.As == subscriptions.AsPartition:
		return subscriptions.Verdict{Keep: true, Key: string(v.Value)}
	case !plugins.IsJSON(v.Value):
		return subscriptions.Verdict{Fault: p.judge.name + ": the data that it made is not valid JSON"}
	}
	return subscriptions.Verdict{Keep: true, Data: v.Value}
}

// Close frees the plugin.
func (p *program) Close() error {
	if p.judge == nil {
		return nil
	}
	j := p.judge
	p.judge = nil
	p.judges.counted.release(p.counts)
	return j.Close()
}

// logged is the plugins.Output of a plugin without a binding.
type logged struct{ logger *slog.Logger }

// Log is plugins.Output.Log.
func (l logged) Log(level abi.Level, line []byte) {
	l.logger.Debug("a plugin logs", "level", level.String(), "text", string(line))
}

// Metric is plugins.Output.Metric. A module that judges events cannot import it.
func (logged) Metric(abi.Kind, []byte, float64) abi.Errno { return abi.Unsupported }
