// Package dashboard serves the pages of a node: what a person sees of it in a browser, and
// steers there. They are written in Svelte (src), are built by make dashboard, and use nothing
// but the public API of the node, through sdk/js.
//
//	index.html, vite.config.ts   how the pages are built, into dist
//	src/App.svelte               the frame: side bar, top bar, dialogs
//	src/lib/pages.ts             the pages, by their path
//	src/pages                    a file for each page
//	src/parts                    what pages share: tables, charts, forms
//	src/lib                      without a view: connection, session, router, formats
//	src/styles                   tokens, icons and components of the design
//	test                         the pages in a real browser
//
// dist is not in the repository. A build of Go without it has no dashboard, and Pages returns
// nil: the node then serves a page that says how to get it.
package dashboard
