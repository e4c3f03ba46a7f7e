// Package certs has the TLS certificates of a node: Open reads them, a Set takes up files
// that change, and Issue makes some to try TLS with.
//
//	set, err := certs.Open(certs.Files{Cert: "node.pem", Key: "node.key"}, logger)
//	listener = tls.NewListener(listener, set.Server())
//
// # Promises
//
//   - Open refuses what no client would take: a certificate that is over, or that its key
//     does not belong to, and a key that others can read. The error is invalid_config and
//     names the file and the mend.
//   - A handshake uses files that were read at most CheckEvery before it. Connections that
//     are open stay. Files that Open would refuse are not taken up: the certificates from
//     before stay, and the log says so once.
//   - TLS is 1.2 or newer, with Go's choice of ciphers.
//
// A Set is safe for concurrent use, and has no goroutine.
package certs
