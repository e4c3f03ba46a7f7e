// Package outside calls other servers for handlers. Whom a handler may call is not its business:
// effects checks what a binding grants.
//
// # Promises
//
//   - A request that is not as it should be is refused, and nothing is sent. Decode has the rules.
//   - A server at an address that is not public is called only if the request says that it may
//     be. It is the address which is dialled that counts, whatever a name resolves to otherwise.
//   - A redirect is followed to the same scheme, host and port only, a few times. Another one is
//     the response.
//   - Certificates are verified, no proxy is used, and all of a call ends within CallTime. A
//     response is bounded, with its header.
//
// A Client is safe for concurrent use.
package outside
