// Package requests holds what requests have in common, whichever protocol brings them:
// their limits and deadlines, the buffers they are read into and answered from, what
// they may say about the deliveries of a named subscription, and what is counted and
// logged of them. Package wsapi serves them over HTTP, package ws over WebSocket.
package requests
