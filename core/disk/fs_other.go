//go:build !linux

package disk

// Datasync is Sync where the system has nothing cheaper that is safe.
func (f osFile) Datasync() error { return f.Sync() }

// writeZeros leaves the filling to writes through the page cache.
func (f osFile) writeZeros(int64, *pace) (done int64, err error) { return 0, nil }
