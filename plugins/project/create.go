package project

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	gyre "github.com/gyre-events/gyre"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// Go is the language that there is a template for.
const Go = "go"

// templates are the files of a new plugin, by language. Their suffix keeps the Go tool from
// taking them for files of this module.
//
//go:embed all:template
var templates embed.FS

const templateSuffix = ".tmpl"

// modulePath and sdkPackages are what a plugin in Go needs of this module.
const modulePath = "github.com/gyre-events/gyre"

// sdkGo is the version of Go that the SDK is written in.
const sdkGo = "1.24"

var releaseVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// values are what templates are filled with.
type values struct {
	Name       string
	ModulePath string
	SDKVersion string
	SDKGo      string
}

// Create writes a new plugin into dir, which must not exist. version is that of this program: it
// becomes the version of the SDK, if it is one of a release.
func Create(dir, name, language, version string) error {
	if err := plugins.ValidateName(name); err != nil {
		return err
	}
	if language != Go {
		return core.Errorf(core.CodeInvalidRequest,
			"there is no template for %.40q, only for go; a plugin in another language is a directory whose %s has build, the command that builds it, and module, the file that this writes",
			language, ManifestFile)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return core.Errorf(core.CodeInvalidRequest, "%s is there already; choose another name, or remove it", dir)
	}
	if !releaseVersion.MatchString(version) {
		version = "v0.0.0"
	}
	files, err := newFiles(language, values{name, modulePath, version, sdkGo})
	if err != nil {
		return err
	}
	return writeDir(dir, files)
}

// newFiles are the files of a new plugin, by their paths in its directory.
func newFiles(language string, v values) (map[string][]byte, error) {
	files, err := vendored(v.SDKVersion)
	if err != nil {
		return nil, err
	}
	root := path.Join("template", language)
	err = fs.WalkDir(templates, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		t, err := template.ParseFS(templates, name)
		if err != nil {
			return err
		}
		var text bytes.Buffer
		if err := t.Execute(&text, v); err != nil {
			return err
		}
		files[strings.TrimSuffix(strings.TrimPrefix(name, root+"/"), templateSuffix)] = text.Bytes()
		return nil
	})
	return files, err
}

// vendored is the SDK as go mod vendor would put it there.
func vendored(version string) (map[string][]byte, error) {
	files := map[string][]byte{}
	var packages []string
	err := fs.WalkDir(gyre.GuestSource, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := gyre.GuestSource.ReadFile(name)
		files[path.Join("vendor", modulePath, name)] = text
		if dir := path.Dir(name); dir != "." && !slices.Contains(packages, dir) {
			packages = append(packages, dir)
		}
		return err
	})
	list := fmt.Sprintf("# %s %s\n## explicit; go %s\n", modulePath, version, sdkGo)
	for _, p := range packages {
		list += path.Join(modulePath, p) + "\n"
	}
	files["vendor/modules.txt"] = []byte(list)
	return files, err
}

// writeDir writes files into a directory beside dir, which then becomes dir.
func writeDir(dir string, files map[string][]byte) (err error) {
	temporary, err := os.MkdirTemp(filepath.Dir(dir), ".gyre-new-")
	if err != nil {
		return core.Errorf(core.CodeInvalidRequest, "no directory can be made there: %w", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }() // gone already if all went well
	for name, text := range files {
		file := filepath.Join(temporary, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("write a new plugin: %w", err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return fmt.Errorf("write a new plugin: %w", err)
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return fmt.Errorf("write a new plugin: %w", err)
	}
	if err := os.Rename(temporary, dir); err != nil {
		return fmt.Errorf("write a new plugin: %w", err)
	}
	return nil
}
