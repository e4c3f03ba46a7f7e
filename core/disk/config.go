package disk

import (
	"log/slog"

	"github.com/gyre-events/gyre/core"
)

// Config says where a log is and how it is kept.
type Config struct {
	// Dir is the data directory. It is made if it is not there.
	Dir string
	// SegmentBytes is the size that segment files are made with; 0 means 64 MiB.
	// A log may be opened with another size than before.
	SegmentBytes int64
	// Logger gets what people should know: repairs, damage, a full disk. Nil
	// discards it.
	Logger *slog.Logger
	// FS is the file system; nil means the operating system's.
	FS FS
	// Progress reports how far Open or Verify is, in bytes of the log. It is called
	// after each segment but the last, until done is total, by the goroutine that
	// called Open or Verify.
	Progress func(done, total int64)

	restoring bool // the log is in the folder of a restore
}

// The bounds of Config.SegmentBytes. A place in a segment has 32 bits, and a
// frame may pass the end of its segment by its own size.
const (
	defaultSegmentBytes = 64 << 20
	minSegmentBytes     = 16 << 10
	maxSegmentBytes     = 1 << 30
)

func (c *Config) validate() error {
	if c.Dir == "" {
		return core.Errorf(core.CodeInvalidConfig, "the data directory is not set")
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes {
		return core.Errorf(core.CodeInvalidConfig, "segments of %d bytes; they may have %d to %d", c.SegmentBytes, int64(minSegmentBytes), int64(maxSegmentBytes))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.FS == nil {
		c.FS = osFS{}
	}
	if c.Progress == nil {
		c.Progress = func(done, total int64) {}
	}
	return nil
}
