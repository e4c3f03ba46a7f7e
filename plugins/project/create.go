package project

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	gyre "github.com/gyre-events/gyre"
	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// templates are the files of new plugins. Those in shared are of all of them, LANGUAGE/shared are of
// a language, and LANGUAGE/KIND of a kind. Their suffix keeps the Go tool from taking them for files
// of this module.
//
//go:embed all:template
var templates embed.FS

const templateSuffix = ".tmpl"

// modulePath is that of the module which plugins in Go need the SDK of.
const modulePath = "github.com/gyre-events/gyre"

// sdkGo is the version of Go that the SDK is written in.
const sdkGo = "1.24"

var releaseVersion = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)

// New says what plugin Create makes.
type New struct {
	Name     string
	Language string       // one of Languages
	Kind     plugins.Kind // projection if empty
	// SDKVersion is the version of this program. It becomes the version of the SDK, if it is one
	// of a release.
	SDKVersion string
}

// Create writes a new plugin into dir, which must not exist.
func Create(dir string, n New) error {
	n.Kind = cmp.Or(n.Kind, plugins.KindProjection)
	if err := plugins.ValidateName(n.Name); err != nil {
		return err
	}
	l := languageOf(n.Language)
	if l == nil || l.name != n.Language {
		return core.Errorf(core.CodeInvalidRequest,
			"there is no template for %.40q, only for %s; a plugin in another language is a directory whose %s has build, the command that builds it, and module, the file that this writes",
			n.Language, strings.Join(Languages(), ", "), ManifestFile)
	}
	if n.Kind.Entry() == "" {
		return core.Errorf(core.CodeInvalidRequest, "%.40q is no kind of plugin; the kinds are %s", n.Kind, listed(plugins.Kinds()))
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return core.Errorf(core.CodeInvalidRequest, "%s is there already; choose another name, or remove it", dir)
	}
	if !releaseVersion.MatchString(n.SDKVersion) {
		n.SDKVersion = "v0.0.0"
	}
	files, err := newFiles(l, n)
	if err != nil {
		return err
	}
	return writeDir(dir, files)
}

// listed are words, with commas.
func listed[W ~string](words []W) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// values are what templates are filled with.
type values struct {
	New
	example
	Crate      string // the name as Cargo takes it
	Build      []string
	Test       []string
	Module     string
	ModulePath string
	SDKGo      string
}

// Bound reports whether the plugin is deployed. Another is named where it judges.
func (v *values) Bound() bool { return !v.Kind.Judges() || v.Kind == plugins.KindValidate }

// newFiles are the files of a new plugin, by their paths in its directory.
func newFiles(l *language, n New) (files map[string][]byte, err error) {
	if l.sdk == "" {
		files, err = vendored(n.SDKVersion)
	} else {
		files, err = l.vendoredSDK()
	}
	v := values{n, examples[n.Kind], crateName(n.Name), l.build, l.test, l.module, modulePath, sdkGo}
	for _, part := range []string{"shared", l.name + "/shared", l.name + "/" + string(n.Kind)} {
		if err == nil {
			err = fill(files, path.Join("template", part), &v)
		}
	}
	return files, err
}

// crateName is the name of a plugin as Cargo takes it: without dots, and not with a digit first.
func crateName(name string) string {
	return strings.TrimLeft(strings.ReplaceAll(name, ".", "-"), "0123456789-_") + "-plugin"
}

// fill adds what the templates of a directory become.
func fill(files map[string][]byte, root string, v *values) error {
	return fs.WalkDir(templates, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		t, err := template.New(path.Base(name)).Funcs(template.FuncMap{"json": jsonText}).ParseFS(templates, name)
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
}

// jsonText is a value as JSON on one line, with spaces for people.
func jsonText(v any) (string, error) {
	text, err := json.Marshal(v)
	return strings.ReplaceAll(string(text), `","`, `", "`), err
}

// goSource is where the SDK for Go is.
var goSource = []string{"plugins/abi", "sdk/plugin"}

// vendored is the SDK for Go as go mod vendor would put it there.
func vendored(version string) (map[string][]byte, error) {
	license, err := gyre.GuestSource.ReadFile("LICENSE")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{path.Join("vendor", modulePath, "LICENSE"): license}
	list := fmt.Sprintf("# %s %s\n## explicit; go %s\n", modulePath, version, sdkGo)
	for _, root := range goSource {
		err := fs.WalkDir(gyre.GuestSource, root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || strings.HasSuffix(name, "_test.go") {
				return err
			}
			if d.IsDir() {
				list += path.Join(modulePath, name) + "\n"
				return nil
			}
			text, err := gyre.GuestSource.ReadFile(name)
			files[path.Join("vendor", modulePath, name)] = text
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	files["vendor/modules.txt"] = []byte(list)
	return files, nil
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
