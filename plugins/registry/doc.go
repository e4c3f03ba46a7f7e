// Package registry keeps the versions of plugins, and makes them ready to run.
//
// A version is a module, which is a blob of the store, and a record that names it:
//
//	table            key             value           written by
//	plugin_versions  plugin version  plugins.Version Upload, Delete, and the deploy of a binding
//	plugin_keys      cache           32 bytes        the first Registry of a store
//
// Upload verifies a module before it stores anything: its bytes and its imports and exports
// (plugins/wasm), its manifest, the schema of its config, and that it compiles within the
// limits of a child process. Then it puts the blob, and makes one Commit of the record. A
// version never changes: the same content again is a success, other content is version_exists.
//
// A version that a binding uses, or would go back to, cannot be deleted. The Commit that
// deploys a version contains Hold, which puts the version's record anew, and Delete compares
// the record with what it was before Delete looked for bindings: of the two, one is refused.
//
// Native code is compiled in a child process and cached in a directory of the node. The key
// that authenticates it is in the store, not in the directory. A node that has no code for a
// version, because another node took the upload or the directory was lost, compiles it when
// it loads the version.
//
// Load returns a plugins.Program. Programs of the same module share their native code, which
// is freed when the last of them is closed.
//
// A Registry is safe for concurrent use.
package registry
