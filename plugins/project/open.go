package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
	"github.com/gyre-events/gyre/plugins/abi"
)

// ManifestFile is the name of the manifest in a plugin's directory.
const ManifestFile = "gyre.plugin.json"

// EventsFile is where the events are that gyre plugin test runs a plugin over.
const EventsFile = "testdata/events.ndjson"

// Project is a directory with a plugin's source.
type Project struct {
	Dir      string
	Manifest *plugins.Manifest

	section []byte // the manifest as it goes into the module
}

// Open reads the manifest of a plugin's directory. The error is not_found, or invalid_manifest.
func Open(dir string) (*Project, error) {
	name := filepath.Join(dir, ManifestFile)
	text, err := readFile(name, abi.MaxManifestBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, core.Errorf(core.CodeNotFound, "%s is no directory of a plugin: it has no %s", dir, ManifestFile)
	case err != nil:
		return nil, err
	}
	manifest, err := plugins.DecodeManifest(text)
	if err != nil {
		return nil, core.Errorf(core.CodeInvalidManifest, "%s: %s", name, core.AsError(err).Detail)
	}
	var section bytes.Buffer
	if err := json.Compact(&section, text); err != nil {
		return nil, core.Errorf(core.CodeInvalidManifest, "%s: %w", name, err)
	}
	return &Project{Dir: dir, Manifest: manifest, section: section.Bytes()}, nil
}

// readFile reads a file of at most so many bytes.
func readFile(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, core.Errorf(core.CodeInvalidRequest, "%s has %d bytes, at most %d are allowed", name, info.Size(), limit)
	}
	return os.ReadFile(name)
}
