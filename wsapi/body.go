package wsapi

// maxBody bounds the body of a request: a Commit, and room for names and base64.
const maxBody = 6 << 20
