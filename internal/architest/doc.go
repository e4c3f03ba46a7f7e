// Package architest is the architecture as tests; it has no other code.
//
// imports_test.go holds the table of who may import whom. A package that is not in
// the table fails, and so does an import that the table does not allow: changing the
// architecture starts by changing the table, where a reviewer sees it.
//
// style_test.go holds the budgets that keep code readable, for functions, files,
// interfaces and structs, and the few things that are never done: init functions,
// package-level loggers, packages named after nothing.
//
// prose_test.go holds documents to short lines, sentences, paragraphs and answers, and
// keeps names that were retired from coming back.
//
// behavior_test.go looks that each behavior that a ring ports from the system that Gyre
// re-implements has a test with its number.
//
// soak_test.go looks that make soak runs each test that has a full length.
//
// All read the source of every file, whatever its build constraints, and need no
// package to compile. Nested modules are not looked at.
package architest
