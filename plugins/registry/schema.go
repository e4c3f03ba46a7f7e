package registry

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/gyre-events/gyre/core"
	"github.com/gyre-events/gyre/plugins"
)

// schemaURL names the schema in its own references. Nothing is loaded from anywhere.
const schemaURL = "gyre:config"

const (
	// maxSteps bounds the schemas that are applied to values when a config is validated.
	// References can make a short schema apply itself exponentially often.
	maxSteps = 100_000
	// maxConfigBytes bounds a config.
	maxConfigBytes = 64 << 10
)

// checkSchema checks the schema of a manifest, and that the default config fits it.
func checkSchema(m *plugins.Manifest) error {
	if _, _, err := compile(m); err != nil {
		return core.Errorf(core.CodeInvalidManifest, "configSchema: %.500s", err.Error())
	}
	if len(m.Config) == 0 {
		return nil
	}
	if err := checkConfig(m, m.Config); err != nil {
		return core.Errorf(core.CodeInvalidManifest, "config: %s", core.AsError(err).Detail)
	}
	return nil
}

// CheckConfig checks a config against a version's schema. No config is an empty object. The
// error is invalid_plugin_config, and says where the config does not fit.
func (r *Registry) CheckConfig(v *plugins.Version, config []byte) error {
	return checkConfig(&v.Manifest, config)
}

func checkConfig(m *plugins.Manifest, config []byte) (err error) {
	if len(config) > maxConfigBytes {
		return core.Errorf(core.CodeInvalidPluginConfig, "the config has %d bytes, at most %d are allowed", len(config), maxConfigBytes)
	}
	if len(config) == 0 {
		config = []byte("{}")
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(config))
	if err != nil {
		return core.Errorf(core.CodeInvalidPluginConfig, "the config is not JSON: %.200s", err.Error())
	}
	if _, ok := value.(map[string]any); !ok {
		return core.Errorf(core.CodeInvalidPluginConfig, "the config is not an object")
	}
	schema, steps, err := compile(m)
	if err != nil || schema == nil {
		return err
	}
	defer func() {
		if reason := recover(); reason == errTooManySteps {
			err = core.Errorf(core.CodeInvalidPluginConfig, "the config cannot be checked: the schema takes more than %d steps", maxSteps)
		} else if reason != nil {
			panic(reason)
		}
	}()
	*steps = 0
	if err := schema.Validate(value); err != nil {
		return core.Errorf(core.CodeInvalidPluginConfig, "%.500s", misfit(err))
	}
	return nil
}

// misfit says where a config does not fit, by the first of the errors.
func misfit(err error) string {
	var e *jsonschema.ValidationError
	if !errors.As(err, &e) {
		return err.Error()
	}
	for _, unit := range e.BasicOutput().Errors {
		if unit.Error != nil {
			return fmt.Sprintf("%s: %s", cmp.Or(unit.InstanceLocation, "the config"), unit.Error)
		}
	}
	return e.Error()
}

// compile compiles the schema of a manifest, and returns the counter of its steps. A manifest
// without a schema has none.
func compile(m *plugins.Manifest) (*jsonschema.Schema, *int, error) {
	if len(m.ConfigSchema) == 0 {
		return nil, nil, nil
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(m.ConfigSchema))
	if err != nil {
		return nil, nil, err
	}
	steps := new(int)
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	c.RegisterVocabulary(&jsonschema.Vocabulary{
		URL: "gyre:steps",
		Compile: func(*jsonschema.CompilerContext, map[string]any) (jsonschema.SchemaExt, error) {
			return counter{steps}, nil
		},
	})
	c.AssertVocabs()
	if err := c.AddResource(schemaURL, text); err != nil {
		return nil, nil, err
	}
	schema, err := c.Compile(schemaURL)
	return schema, steps, err
}

// noLoader refuses the references of a schema to others.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %.100q, and a schema of a manifest may refer to itself only", url)
}

// counter counts the schemas that are applied.
type counter struct{ steps *int }

var errTooManySteps = errors.New("too many steps")

// Validate is jsonschema.SchemaExt.
func (c counter) Validate(*jsonschema.ValidatorContext, any) {
	if *c.steps++; *c.steps > maxSteps {
		panic(errTooManySteps)
	}
}
