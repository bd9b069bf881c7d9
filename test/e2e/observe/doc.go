// Package observe says what came of the connections that a client opened, and who answered for an address when.
//
// It works on what a test has noted, and never opens a socket or reads a clock, so that the measuring itself is tested
// without a lab.
package observe
