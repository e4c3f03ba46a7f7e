package disk

import (
	"errors"

	"github.com/gyre-events/gyre/core"
)

// checkBlobs compares every blob with its id. Which ones there should be is not known here.
func (v *verifier) checkBlobs() error {
	blobs := newBlobStore(v.engine.fs, v.engine.blobDir())
	ids, err := blobs.list()
	if err != nil {
		return openError(err)
	}
	for _, id := range ids {
		if err := v.ctx.Err(); err != nil {
			return core.AsError(err)
		}
		v.report.Blobs++
		switch err := blobs.check(id); {
		case errors.Is(err, core.CodeStoreCorrupt):
			v.add(Problem{File: "blobs/" + blobName(id), Detail: "the content is not that of its name"})
		case err != nil:
			return err
		}
	}
	return nil
}
