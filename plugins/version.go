package plugins

import "time"

// Version is an uploaded version of a plugin.
type Version struct {
	Plugin   string    `json:"plugin"`
	Version  string    `json:"version"`
	SHA256   string    `json:"sha256"` // of the module, in hex
	Bytes    int64     `json:"bytes"`
	Uploaded time.Time `json:"uploaded"`
	Manifest Manifest  `json:"manifest"`
	Report   Report    `json:"report"`
	// Revision is that of the record, on the node.
	Revision uint64 `json:"-"`
}

// Report is what verifying a module has found.
type Report struct {
	Functions   int      `json:"functions"`
	Imports     []string `json:"imports"` // of the ABI and of WASI, as module.name
	MemoryBytes uint64   `json:"memoryBytes"`
	Warnings    []string `json:"warnings,omitempty"`
	Queries     bool     `json:"queries,omitzero"` // it exports what answers queries
	// AtLeastOnce says that it imports what calls other servers, which is done at least once.
	AtLeastOnce bool `json:"atLeastOnce,omitzero"`
}
