package effects

import (
	"time"

	"github.com/gyre-events/gyre/plugins/abi"
)

// NoEffects are the plugins.Effects and plugins.Reads that a module which judges events cannot
// import: all but Result and Config.
type NoEffects struct{}

func (NoEffects) Begin(int)                                           {}
func (NoEffects) Append(int, []byte, int64, []byte) abi.Errno         { return abi.Unsupported }
func (NoEffects) Put(int, []byte, []byte) abi.Errno                   { return abi.Unsupported }
func (NoEffects) Delete(int, []byte) abi.Errno                        { return abi.Unsupported }
func (NoEffects) Get([]byte) ([]byte, abi.Errno)                      { return nil, abi.Unsupported }
func (NoEffects) Scan(_, _ []byte, _, _ int) ([]byte, abi.Errno)      { return nil, abi.Unsupported }
func (NoEffects) ReadStream([]byte, int64, int) ([]byte, abi.Errno)   { return nil, abi.Unsupported }
func (NoEffects) Secret([]byte) ([]byte, abi.Errno)                   { return nil, abi.Unsupported }
func (NoEffects) HTTP(int, []byte, time.Duration) ([]byte, abi.Errno) { return nil, abi.Unsupported }
