package effects

import (
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// Outside is what a node has for handlers beside the store. It is safe for concurrent use.
type Outside interface {
	// Secret returns a secret of the node.
	Secret(name string) (value string, ok bool)
}

// Reach lets handlers reach what is outside of the store. Without it they are told that it is
// unsupported: whoever runs them wants no more than their effects.
func (x *Stage) Reach(o Outside) { x.outside = o }

// Secret is plugins.Reads'. What it returns is masked from then on where the handler says it.
func (x *Stage) Secret(key []byte) ([]byte, abi.Errno) {
	name := string(key)
	if e := x.grants(plugins.CanReadSecret, "to read secret ", name); e != abi.OK {
		return nil, e
	}
	if x.outside == nil {
		return nil, abi.Unsupported
	}
	value, ok := x.outside.Secret(name)
	if !ok {
		x.out.Log(abi.Error, Line("this node does not have the secret "+name+": add it to the file of --plugin-secrets-file"))
		return nil, x.refuse(abi.NotFound, "this node does not have the secret %s", name)
	}
	x.mask.add(value)
	return []byte(value), abi.OK
}
