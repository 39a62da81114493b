// Package ui serves the web interface below /ui/.
//
// The pages are rendered on the server, and each action is a plain form: nothing needs script. One
// small module refreshes the progress of ceremonies, warns before a session ends, and clears what
// was typed when the page is left.
//
// It guarantees that
//   - every read and write goes through the API's own handler, with the token of the session and
//     the address of the browser: authorisation, audit, limits and forwarding to the leader are
//     those of any other client, and this package has no right of its own;
//   - a token never reaches the browser again after login: the cookie holds a random id, of which
//     this package keeps a digest, and the token stays in the memory of this node until the session
//     is idle for [Idle], is [Longest] old, or is signed out;
//   - a form is accepted from its own origin only (Sec-Fetch-Site or Origin), and only with the
//     value of a cookie that other sites and subdomains cannot set;
//   - shares, tokens and passwords are in no URL and no log, the buffers of forms are wiped after
//     use, and new shares are on no page but the one that answers the last share, which no cache
//     may keep;
//   - no page runs inline script or style, may be framed, or loads anything from elsewhere.
//
// It does not guarantee that a session survives a restart or is known to another node: behind a
// load balancer that changes nodes, the browser has to sign in again. Custodians need no session.
//
// Paths below /ui/ may change in any release; the API is the stable interface.
package ui
