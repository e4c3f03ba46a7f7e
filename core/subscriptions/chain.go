package subscriptions

import (
	"context"
	"errors"

	"github.com/gyre-events/gyre/core"
)

// chain is a Program of several, of which each judges what those before it keep.
type chain struct {
	programs []Program
	kept     []byte // room for the events that are kept
	verdicts []Verdict
}

// Run is Program.Run. It judges as many events as the program that judges the fewest.
func (c *chain) Run(ctx context.Context, b core.Batch, dst []Verdict) ([]Verdict, error) {
	from := len(dst)
	dst, err := c.programs[0].Run(ctx, b, dst)
	for _, p := range c.programs[1:] {
		if err != nil {
			return dst, err
		}
		kept := c.keep(b, dst[from:])
		if kept.Count == 0 {
			continue
		}
		if c.verdicts, err = p.Run(ctx, kept, c.verdicts[:0]); err == nil {
			dst = dst[:from+merge(dst[from:], c.verdicts)]
			clear(c.verdicts) // they hold what was mapped in memory
		}
	}
	return dst, err
}

// keep returns the events of a batch that the first verdicts keep.
func (c *chain) keep(b core.Batch, verdicts []Verdict) (kept core.Batch) {
	kept.Block = c.kept[:0]
	i := 0
	for p := range b.Places() {
		if i == len(verdicts) {
			break
		}
		if goesOn(&verdicts[i]) {
			kept.Add(b.Block[p.At:p.At+p.Size], p.Position)
		}
		i++
	}
	c.kept = kept.Block
	return kept
}

func goesOn(v *Verdict) bool { return v.Keep && v.Fault == "" }

// merge takes later verdicts on what verdicts keep, and returns the number of events that have
// both.
func merge(verdicts, later []Verdict) int {
	for i := range verdicts {
		v := &verdicts[i]
		switch {
		case !goesOn(v):
			continue
		case len(later) == 0:
			return i
		}
		v.Keep, v.Fault = later[0].Keep, later[0].Fault
		if later[0].Key != "" {
			v.Key = later[0].Key
		}
		if later[0].Data != nil {
			v.Data = later[0].Data
		}
		later = later[1:]
	}
	return len(verdicts)
}

// Close closes the programs.
func (c *chain) Close() (err error) {
	for _, p := range c.programs {
		err = errors.Join(err, p.Close())
	}
	return err
}

// newProgram returns the Program of a definition; nil if it needs none. Keys and maps are made of
// the events that all filters keep.
func newProgram(source Source, judges []Judge, programs Programs) (Program, error) {
	c := &chain{}
	var err error
	if len(judges) > 0 && judges[0].As == AsFilter {
		if err = c.compile(Source{Filter: source.Filter}, programs); err == nil {
			err = c.open(judges[:1], programs)
		}
		source.Filter, judges = "", judges[1:]
	}
	if err == nil {
		err = c.compile(source, programs)
	}
	if err == nil {
		err = c.open(judges, programs)
	}
	switch {
	case err != nil:
		return nil, errors.Join(err, c.Close())
	case len(c.programs) == 0:
		return nil, nil
	case len(c.programs) == 1:
		return c.programs[0], nil
	}
	return c, nil
}

// compile adds the program of a Source, if there is anything in it.
func (c *chain) compile(s Source, programs Programs) error {
	if s == (Source{}) {
		return nil
	}
	if programs.Compile == nil {
		return core.Errorf(core.CodeNotSupported, "this server has no expressions")
	}
	p, err := programs.Compile(s)
	if err == nil {
		c.programs = append(c.programs, p)
	}
	return err
}

// open adds the programs of plugins.
func (c *chain) open(judges []Judge, programs Programs) error {
	for _, j := range judges {
		if programs.Judges == nil {
			return errNoPlugins()
		}
		p, err := programs.Judges.Open(j)
		if err != nil {
			return err
		}
		c.programs = append(c.programs, p)
	}
	return nil
}
