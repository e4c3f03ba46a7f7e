// Package dev is the loop of gyre plugin dev: whenever a source of a plugin changes, the plugin is
// built, its module handles the same events again in a sandbox, and what it does otherwise than
// the round before is told.
//
//	Watch ──► project.Build ──► trial.Version over a Window ──► Round ──► Loop.Show
//	  ▲                                                          │
//	  └──────────────── the next change of a file ◄──────────────┘
//
// A Source has the events: Last has the newest of a log, and Sample those of a file. The window of
// a Last begins at one place for as long as the input of the manifest stays and the log does not
// grow far: new events are added at its end. So two rounds begin with the same state at the same
// event, and what they do with an event can be compared.
//
// Watch polls. A plugin has some dozen files, which a look at each costs less than a millisecond.
// What systems offer instead watches one directory each, loses events, and says nothing on the
// shared folders of containers and virtual machines. A file counts as changed if its content is.
//
// A run ends when a file changes, a build does not: it is dropped afterwards.
package dev
