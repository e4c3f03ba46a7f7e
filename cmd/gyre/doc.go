// Command gyre runs a Gyre node and talks to one.
//
// Each command has a file of its own. What they share: the root command and
// the flags of every command (root.go), how a node is found and dialed
// (connect.go), how results are printed (output.go), how long work shows its
// progress (progress.go), and how an error becomes words and an exit code
// (errors.go).
//
// stdout is data, stderr is everything else. The exit code says what kind of
// thing went wrong; gyre --help lists them. The names and shapes that
// -o json and -o ndjson print are an interface: scripts depend on them, and the
// tests in testdata/script hold them.
package main
