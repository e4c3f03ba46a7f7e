package core

import "context"

// Sizes are what the parts of a store take in storage, in bytes. What an engine does not have
// is 0.
type Sizes struct {
	Log, Index, Records, Blobs int64
	// Database is all of them together, where they are in one.
	Database int64
}

// Sizer is implemented by engines that know more than State.Bytes.
type Sizer interface {
	// Sizes returns the sizes. It may look at every file of the store.
	Sizes(ctx context.Context) (Sizes, error)
}

// Sizes returns the sizes of the engine's parts.
func (s *Store) Sizes(ctx context.Context) (Sizes, error) {
	if e, ok := s.engine.(Sizer); ok {
		return e.Sizes(ctx)
	}
	return Sizes{Log: s.State().Bytes}, nil
}
