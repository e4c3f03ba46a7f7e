package plugins

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/core/delivery"
	"github.com/gyre-events/gyre/core/subscriptions"
	"github.com/gyre-events/gyre/plugins/abi"
)

// MaxLanes is the most lanes of a binding.
const MaxLanes = 64

// The bounds of texts in a manifest.
const (
	maxSDKBytes         = 64
	maxDescriptionBytes = 1024
	maxBuildWords       = 64
	maxWordBytes        = 1024
)

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	versionPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$`)
)

// DecodeManifest decodes a manifest and checks it. A member that does not exist is refused. The
// error is invalid_manifest, and names the member.
func DecodeManifest(text []byte) (*Manifest, error) {
	if len(text) > abi.MaxManifestBytes {
		err := invalid("the manifest has %d bytes, at most %d are allowed", len(text), abi.MaxManifestBytes)
		err.Limit = abi.MaxManifestBytes
		return nil, err
	}
	m := &Manifest{}
	if err := json.Unmarshal(text, m, json.RejectUnknownMembers(true)); err != nil {
		return nil, decodeError(err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// Validate checks a manifest. The error is invalid_manifest, and names the member.
func (m *Manifest) Validate() error {
	if err := ValidateName(m.Name); err != nil {
		return invalid("name: %s", core.AsError(err).Detail)
	}
	switch {
	case !versionPattern.MatchString(m.Version):
		return invalid("version: %q is not 1 to 64 letters, digits and . + _ -, such as 0.1.0", core.Clip(m.Version))
	case m.ABI != abi.Module && m.ABI != abi.Stdio:
		return invalid("abi: %q is not supported, this version has %s and %s", core.Clip(m.ABI), abi.Module, abi.Stdio)
	case !isText(m.SDK, maxSDKBytes):
		return invalid("sdk: it is one line of at most %d bytes", maxSDKBytes)
	case !isText(m.Description, maxDescriptionBytes):
		return invalid("description: it is one line of at most %d bytes", maxDescriptionBytes)
	case len(m.Config) > 0 && m.Config[0] != '{':
		return invalid("config: it is an object, such as {\"threshold\":50}")
	case len(m.ConfigSchema) > 0 && m.ConfigSchema[0] != '{':
		return invalid("configSchema: it is an object, a JSON Schema")
	}
	if err := m.validateKind(); err != nil {
		return err
	}
	if err := m.validateBuild(); err != nil {
		return err
	}
	if _, err := ParseCapabilities(m.Capabilities); err != nil {
		return invalid("capabilities: %s", core.AsError(err).Detail)
	}
	if err := m.validateCommand(); err != nil {
		return err
	}
	if err := m.Limits.Validate(); err != nil {
		return invalid("limits.%s", core.AsError(err).Detail)
	}
	if _, err := m.Subscription.Definition(); err != nil {
		return invalid("subscription: %s", core.AsError(err).Detail)
	}
	return m.validateLanes()
}

func (m *Manifest) validateLanes() error {
	by := m.Subscription.PartitionBy
	switch {
	case m.Kind.Judges() && m.Lanes > 1:
		return invalid("lanes is %d: %s judges events for others, and has no lanes", m.Lanes, m.Kind.A())
	case m.Lanes < 0 || m.Lanes > MaxLanes:
		return invalid("lanes is %d, it may be from 1 to %d", m.Lanes, MaxLanes)
	case m.Lanes > 1 && (by == "" || by == delivery.Unpartitioned):
		return invalid("lanes is %d, which needs a subscription.partitionBy such as stream", m.Lanes)
	}
	return nil
}

func (m *Manifest) validateKind() error {
	switch {
	case m.Kind.Entry() == "":
		return invalid("kind: %q is none of %s", core.Clip(string(m.Kind)), kindList())
	case m.Kind.Judges() && len(m.Capabilities) > 0:
		return invalid("capabilities: %s judges events and has no effects, so it needs none, and %s is asked for", m.Kind.A(), core.Clip(m.Capabilities[0]))
	case m.Kind == KindProjection:
		for _, c := range m.Capabilities {
			if strings.HasPrefix(c, string(CanAppend)+":") {
				return invalid("kind: a projection appends nothing, and %s is asked for; a handler may", core.Clip(c))
			}
		}
	}
	return nil
}

// validateCommand refuses what only a module with the functions of abi.Module can be or do.
func (m *Manifest) validateCommand() error {
	if m.ABI != abi.Stdio {
		return nil
	}
	if m.Kind != KindHandler {
		return invalid("kind: a command of abi %s is a handler, and not %s; %s has all kinds", abi.Stdio, m.Kind.A(), abi.Module)
	}
	if why := m.cannotUse(m.Capabilities); why != "" {
		return invalid("capabilities: %s", why)
	}
	return nil
}

// cannotUse says which of some capabilities a command can do nothing with; "" if there is none.
func (m *Manifest) cannotUse(capabilities []string) string {
	if m.ABI != abi.Stdio {
		return ""
	}
	for _, text := range capabilities {
		c, err := ParseCapability(text)
		if err == nil && c.Kind != CanAppend && c.Kind != CanUseState {
			return fmt.Sprintf("a command of abi %s appends and writes state, and can do nothing with %s; %s can", abi.Stdio, core.Clip(c.String()), abi.Module)
		}
	}
	return ""
}

func kindList() string {
	names := make([]string, 0, len(entries))
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func (m *Manifest) validateBuild() error {
	for _, c := range []struct {
		member string
		words  []string
	}{{"build", m.Build}, {"module", []string{m.Module}}, {"test", m.Test}} {
		if len(c.words) > maxBuildWords {
			return invalid("%s: %d words, at most %d are allowed", c.member, len(c.words), maxBuildWords)
		}
		for _, word := range c.words {
			if len(word) > maxWordBytes {
				return invalid("%s: a word has %d bytes, at most %d are allowed", c.member, len(word), maxWordBytes)
			}
		}
	}
	if len(m.Build) > 0 && (m.Module == "" || m.Build[0] == "") {
		return invalid("build: it is a command, and module is the file that it writes; both are needed")
	}
	if len(m.Test) > 0 && m.Test[0] == "" {
		return invalid("test: it is a command, and its first word is empty")
	}
	return nil
}

// Definition returns the definition of the subscription of a binding, with the defaults of what
// the input leaves out, and checks all but its expressions. The error names the member.
func (i *Input) Definition() (subscriptions.Definition, error) {
	d := subscriptions.DefaultDefinition()
	d.Filter, d.Map = i.Filter, i.Map
	if i.Stream != "" {
		d.Stream = i.Stream
	}
	if i.PartitionBy != "" {
		d.PartitionBy = i.PartitionBy
	}
	if len(i.From) > 0 {
		if err := d.From.UnmarshalJSON(i.From); err != nil {
			return d, err
		}
	}
	return d, d.Validate()
}

// ValidateName checks the name of a plugin or a binding: 1 to 63 lower-case letters, digits and
// . _ -, the first a letter or a digit. It is not abi, which is another path of the API. The
// error is invalid_request.
func ValidateName(name string) error {
	if name == "abi" {
		return core.Errorf(core.CodeInvalidRequest, "a plugin cannot be called %q: that is the path of the description of the ABI", name)
	}
	if !namePattern.MatchString(name) {
		return core.Errorf(core.CodeInvalidRequest,
			"%q is not a name of a plugin: use 1 to 63 lower-case letters, digits and . _ -, and begin with a letter or a digit", core.Clip(name))
	}
	return nil
}

// decodeError says what is wrong with a text that is no manifest.
func decodeError(err error) error {
	var coded *core.Error
	var semantic *json.SemanticError
	isSemantic := errors.As(err, &semantic)
	where := "the manifest"
	if isSemantic && semantic.JSONPointer != "" {
		where = core.Clip(string(semantic.JSONPointer))
	}
	switch {
	case errors.As(err, &coded):
		return invalid("%s: %s", where, coded.Detail)
	case isSemantic && errors.Is(err, json.ErrUnknownName):
		return invalid("%s: there is no such member", where)
	case isSemantic && len(semantic.JSONValue) > 0 && len(semantic.JSONValue) <= 80:
		return invalid("%s cannot be %s", where, semantic.JSONValue)
	case isSemantic:
		return invalid("%s has a value of another type there", where)
	}
	return invalid("the manifest is not one JSON object: %v", err)
}

func invalid(format string, args ...any) *core.Error {
	return core.Errorf(core.CodeInvalidManifest, "%s", core.ClipTo(fmt.Sprintf(format, args...), maxDetailBytes))
}

const maxDetailBytes = 1024

// isText reports whether s is one line of at most so many bytes.
func isText(s string, most int) bool {
	if len(s) > most || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
