//go:build !linux

package disk

// Datasync is Sync where the system has nothing cheaper that is safe.
func (f osFile) Datasync() error { return f.Sync() }
