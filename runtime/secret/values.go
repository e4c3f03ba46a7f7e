package secret

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// CheckEvery is how old what was read of a file of Values may be.
	CheckEvery = time.Second

	maxValues     = 1000
	maxValuesFile = 1 << 20
	maxNameBytes  = 128
	maxValueBytes = 64 << 10
	// minValueBytes is so many that a value in a text is no accident: where it is said, it is
	// masked.
	minValueBytes = 8
)

// Values are the secrets of a file, by their names: a YAML or JSON object of texts. What is of no
// use in it, once the file has changed, is not taken up: the secrets from before stay, the log
// says so, and Valid is false.
//
// Values are safe for concurrent use, and have no goroutine. Nil Values are none.
type Values struct {
	path   string
	logger *slog.Logger
	newest atomic.Pointer[map[string]string]
	bad    atomic.Bool // what the file has is not what newest is

	checking sync.Mutex // held by the one that reads the file; protects the fields below
	checked  time.Time
	seen     []byte // the newest content, good or bad; nil if it could not be read
}

// OpenValues reads a file that Read does not find Exposed. No error has a value.
func OpenValues(path string, logger *slog.Logger) (*Values, error) {
	v := &Values{path: path, logger: logger, checked: time.Now()}
	text, values, err := v.read()
	if err != nil {
		return nil, err
	}
	v.seen = text
	v.newest.Store(&values)
	return v, nil
}

// Get returns a secret.
func (v *Values) Get(name string) (value string, ok bool) {
	value, ok = v.now()[name]
	return value, ok
}

// Names are those of the secrets, in order.
func (v *Values) Names() []string { return slices.Sorted(maps.Keys(v.now())) }

// Valid reports whether the secrets are what the file has now.
func (v *Values) Valid() bool {
	v.now()
	return v == nil || !v.bad.Load()
}

// now returns the secrets, after a look at the file if the last was a while ago. One caller
// looks, the others do not wait for it.
func (v *Values) now() map[string]string {
	if v == nil {
		return nil
	}
	if v.checking.TryLock() {
		if now := time.Now(); now.Sub(v.checked) >= CheckEvery {
			v.checked = now
			v.check()
		}
		v.checking.Unlock()
	}
	return *v.newest.Load()
}

// check reads the file again.
func (v *Values) check() {
	text, values, err := v.read()
	if text != nil && bytes.Equal(text, v.seen) {
		return
	}
	switch {
	case err == nil:
		v.newest.Store(&values)
		v.logger.Info("the secrets of plugins were read again", "file", v.path, "secrets", len(values))
	case text != nil || v.seen != nil: // else it was said before
		v.logger.Error("the new file with the secrets of plugins is of no use; the secrets from before stay", "file", v.path, "error", err)
	}
	v.bad.Store(err != nil)
	v.seen = text
}

// read reads the file. Of one that is of no use, it returns the text if there is one.
func (v *Values) read() (text []byte, values map[string]string, err error) {
	if text, err = Read(v.path, maxValuesFile); err != nil {
		return nil, nil, err
	}
	if values, err = DecodeValues(text); err != nil {
		err = fmt.Errorf("%s: %w", v.path, err)
	}
	return text, values, err
}

// yamlLine is where an error of YAML says that it is. The rest may quote what is secret.
var yamlLine = regexp.MustCompile(`line \d+`)

// DecodeValues decodes a YAML or JSON object of secrets by their names. No error has a value.
func DecodeValues(text []byte) (map[string]string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		where := yamlLine.FindString(err.Error())
		if where == "" {
			where = "it"
		}
		return nil, fmt.Errorf("%s is not YAML or JSON; the file has lines such as API_KEY: \"k3J…\"", where)
	}
	if len(document.Content) == 0 { // an empty file, or comments
		return map[string]string{}, nil
	}
	object := document.Content[0]
	if object.Kind != yaml.MappingNode {
		return nil, errors.New(`it is no object; the file has lines such as API_KEY: "k3J…"`)
	}
	if len(object.Content)/2 > maxValues {
		return nil, fmt.Errorf("it has %d secrets, at most %d are allowed", len(object.Content)/2, maxValues)
	}
	values := make(map[string]string, len(object.Content)/2)
	for i := 0; i+1 < len(object.Content); i += 2 {
		name, value := object.Content[i], object.Content[i+1]
		problem := problemOf(name, value)
		if _, again := values[name.Value]; again {
			problem = "its name is there twice"
		}
		if problem != "" {
			return nil, fmt.Errorf("the secret at line %d: %s", name.Line, problem)
		}
		values[name.Value] = value.Value
	}
	return values, nil
}

// problemOf is why a secret cannot be one; "" if it can.
func problemOf(name, value *yaml.Node) string {
	const text = "!!str"
	switch {
	case name.Kind != yaml.ScalarNode || name.Value == "" || len(name.Value) > maxNameBytes || !utf8.ValidString(name.Value):
		return fmt.Sprintf("its name is no text of 1 to %d bytes", maxNameBytes)
	case value.Kind != yaml.ScalarNode || value.ShortTag() != text:
		return "its value is no text; put it in quotes"
	case len(value.Value) < minValueBytes || len(value.Value) > maxValueBytes:
		return fmt.Sprintf("its value has %d bytes, it may have from %d, so that it can be masked in logs, to %d", len(value.Value), minValueBytes, maxValueBytes)
	}
	return ""
}
