package wasm

import (
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// features are what both the parser and the compiler take.
const features = api.CoreFeaturesV2 &^ api.CoreFeatureSIMD

func runtimeConfig() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features).WithMemoryLimitPages(maxMemoryPages).WithDebugInfoEnabled(false)
}
